-- name: begin
-- description: Starts a write transaction; IMMEDIATE, because one that starts as a read can fail when it first writes.
BEGIN IMMEDIATE

-- name: begin_read
-- description: Starts a read transaction: all reads in it see what the first one saw.
BEGIN DEFERRED

-- name: commit
-- description: Makes the transaction durable.
COMMIT

-- name: rollback
-- description: Gives the transaction up.
ROLLBACK

-- name: pragma
-- description: Sets a pragma; a template, because pragmas take no parameters. Both parts are checked before.
PRAGMA {name} = {value}

-- name: page_size
-- description: Bytes of a page; a frame of the write-ahead log is 24 bytes longer.
PRAGMA page_size

-- name: checkpoint_passive
-- description: Moves what it can from the write-ahead log to the database without disturbing anybody.
PRAGMA wal_checkpoint (PASSIVE)

-- name: checkpoint_restart
-- description: Moves everything, so that the next writer starts the write-ahead log from its beginning.
PRAGMA wal_checkpoint (RESTART)

-- name: tables
-- description: Names of all tables; tells a new file from one of ours and from somebody else's.
SELECT name FROM sqlite_master WHERE type = 'table'

-- name: migrations_create
-- description: The table of migrations that were applied.
CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT

-- name: migrations_applied
-- description: Numbers of the migrations that were applied.
SELECT number FROM migrations ORDER BY number

-- name: migration_record
-- description: Remembers that a migration was applied; in its transaction.
INSERT INTO migrations (number, name) VALUES (?, ?)
