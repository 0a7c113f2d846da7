"""Durable memory in one SQLite file, owned by one process. The default store."""

from obelisk.store.sqlite.ownership import StoreBusy, StoreUnusable
from obelisk.store.sqlite.reader import SqliteReader
from obelisk.store.sqlite.schema import StoreTooNew
from obelisk.store.sqlite.store import Checkpoint, SqliteStore

__all__ = ["Checkpoint", "SqliteReader", "SqliteStore", "StoreBusy", "StoreTooNew", "StoreUnusable"]
