"""The write-ahead log: how long it gets, and that its file is that long before anything is committed.

A commit that writes where the file already has blocks syncs them, and that is all. One that makes the file longer has the file
system write down the new size and the new blocks too, which takes as long again. So the file is filled with zeros at the start.
SQLite takes them for the end of the log and writes over them; a log that is long enough begins anew, and the file stays.

Decides how long the file is, and when the log is to begin anew. Must not write where SQLite has written: it appends to the file,
and only while nobody writes to the database. Room is a matter of speed alone, so what fails here is left to SQLite to find.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from obelisk.store.sqlite.turns import Turns

_PIECE_BYTES: Final = 4 << 10
"""The kernel keeps what was written at once as one large page, and counts all of it as written when any of it is again."""
_PIECES_A_TURN: Final = 64
"""That are written between two commits, which takes some 0.2 ms. With one, the file would be long enough after 4,000 commits."""
_FRAME_HEADER_BYTES: Final = 24


class Wal:
    """The log of one database. `grown` and `seen` are told how long it is, `make_room` makes its file longer.

    A commit and a checkpoint may tell at the same time, on two threads. What comes of it is a look too many, or one that waits for
    the next second.
    """

    def __init__(self, database: str, page_bytes: int, log_bytes_max: int, writing: Turns) -> None:
        """`log_bytes_max`: how long the log gets before it begins anew. `writing`: held by whoever writes to the database."""
        self._path = f"{database}-wal"
        self._file_bytes = log_bytes_max
        self._pages_max = log_bytes_max // (page_bytes + _FRAME_HEADER_BYTES)
        self._writing = writing
        self._has_failed = False
        self._begun_at = 0
        self._asks_at = self._pages_max
        self.written = 0
        """How many pages were written since the database was opened, as far as was told."""
        self.wanted: Final = threading.Event()
        """Set when there is no room yet, and when the log is longer than it is to be."""
        self.wanted.set()

    @property
    def is_long(self) -> bool:
        """Whether the log is longer than it is to be."""
        return self.written - self._begun_at > self._pages_max

    def grown(self, written: int) -> None:
        """After a commit: how many pages were written since the database was opened. One thread at a time."""
        self.written = written
        if written > self._asks_at:
            self._ask_again()
            self.wanted.set()

    def seen(self, pages: int, moved: int, written: int) -> None:
        """What a checkpoint saw: pages in the log, and how many of them are in the database too. `written`: what was told before
        it. If all of them are and nothing was written meanwhile, the log begins anew with the next commit.
        """
        begins_anew = moved == pages and written == self.written
        self._begun_at = written if begins_anew else written - pages
        self._ask_again()

    def _ask_again(self) -> None:
        """When it is too long, or when it has grown by as much once more: whoever reads may keep it from beginning anew."""
        self._asks_at = self._pages_max + (self.written if self.is_long else self._begun_at)

    def make_room(self) -> None:
        """Makes the file as long as the log gets. Commits wait for each turn of it, some tenths of a millisecond."""
        if self._has_failed:
            return
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                is_new = self._missing(file) > 0
                while self._missing(file) > 0:
                    with self._writing:
                        for _ in range(_PIECES_A_TURN):
                            missing = self._missing(file)
                            if missing > 0:
                                os.write(file, bytes(min(missing, _PIECE_BYTES)))
                if is_new:
                    os.fdatasync(file)
            finally:
                os.close(file)
        except OSError:
            self._has_failed = True

    def _missing(self, file: int) -> int:
        """By how many bytes the file is too short."""
        return self._file_bytes - os.fstat(file).st_size
