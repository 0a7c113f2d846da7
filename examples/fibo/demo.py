"""`make demo`: the example from beginning to end, with the commands that a user would type.

Starts a server on a temporary folder, runs the two workflows, shows how their activities ran, then kills the server in
the middle of a longer run, starts it again and waits for the result. Leaves nothing behind.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from obelisk.core.ids import ulid

HERE: Final = Path(__file__).resolve().parent
IFC: Final = "template-fibo:workflow/fibo-workflow-ifc"
READY: Final = "Serving gRPC requests at "
STEPS: Final = 3_000


def say(text: str) -> None:
    """A heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n## {text}", flush=True)


class Demo:
    """One server on one folder."""

    def __init__(self, folder: Path) -> None:
        self.toml = folder / "obelisk.toml"
        text = (HERE / "obelisk.toml").read_text()
        text = text.replace("127.0.0.1:5005", "127.0.0.1:0")  # any free port
        text = text.replace("${OBELISK_TOML_DIR}/components", str(HERE / "components"))
        self.toml.write_text(text)
        self.server: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Starts the server and waits until it is ready."""
        print(f"$ obelisk server run --config {self.toml}", flush=True)
        begun = time.monotonic()
        command = [sys.executable, "-m", "obelisk", "server", "run", "--config", str(self.toml)]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.server.stdout is not None
        for line in self.server.stdout:
            if line.startswith(READY):
                print(f"{line.rstrip()}   ({time.monotonic() - begun:.1f} s)", flush=True)
                self.url = f"http://{line.removeprefix(READY).strip()}"
                return
        raise SystemExit(f"the server ended with {self.server.wait()}")

    def stop(self, how: signal.Signals) -> None:
        """Ends the server, gently or not."""
        assert self.server is not None
        self.server.send_signal(how)
        self.server.wait()
        if self.server.stdout is not None:
            self.server.stdout.close()

    def run(self, *arguments: str, shown: bool = True) -> str:
        """Runs a command of the client. Its output is shown, or returned."""
        print(f"$ obelisk {shlex.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "obelisk", *arguments, "--api-url", self.url]
        done = subprocess.run(command, check=True, stdout=None if shown else subprocess.PIPE, text=True)
        return done.stdout or ""

    def new_id(self) -> str:
        """A fresh execution id, chosen here so that the demo knows what to look at."""
        return f"E_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def main() -> None:
    """The whole show."""
    with tempfile.TemporaryDirectory(prefix="obelisk-demo-") as folder:
        os.environ.setdefault("COLUMNS", "120")
        demo = Demo(Path(folder))
        say("A server with two components: an activity and a workflow")
        demo.start()
        try:
            show(demo)
        finally:
            if demo.server is not None and demo.server.poll() is None:
                demo.stop(signal.SIGTERM)


def show(demo: Demo) -> None:
    """What there is to see."""
    demo.run("component", "list")
    for title, function in (
        ("fibo(40) ten times, one after another", "fiboa"),
        ("fibo(40) ten times, all at once", "fiboa-concurrent"),
    ):
        say(title)
        execution_id = demo.new_id()
        demo.run("execution", "submit", "--follow", "-e", execution_id, f"{IFC}.{function}", "[40,10]")
        demo.run("execution", "trace", execution_id)

    say(f"{STEPS} steps in series, and a kill -9 in the middle")
    execution_id = demo.new_id()
    demo.run("execution", "submit", "-e", execution_id, f"{IFC}.fiboa", f"[10,{STEPS}]")
    time.sleep(1.0)
    assert demo.server is not None
    print(f"$ kill -9 {demo.server.pid}", flush=True)
    demo.stop(signal.SIGKILL)
    demo.start()
    demo.run("execution", "status", execution_id)
    demo.run("execution", "result", "--follow", execution_id)
    log = demo.run("execution", "events", "--limit", str(10 * STEPS), execution_id, shown=False).splitlines()
    children = [
        line.split("ChildExecutionRequest(")[1].split(",")[0] for line in log if "ChildExecutionRequest(" in line
    ]
    print(
        f"{len(children)} children in its log, {len(set(children))} different ones: nothing skipped, nothing repeated"
    )


if __name__ == "__main__":
    main()
