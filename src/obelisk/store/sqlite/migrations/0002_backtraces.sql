-- Where workflows were when they made host calls: written when somebody looks, never while they run.

-- Frames, as JSON, written once for all calls that were made in the same place. `digest`: SHA-256 of `frames`.
CREATE TABLE stacks (
    key INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    frames BLOB NOT NULL
) STRICT;

-- The host call that left the events from `first` up to but not including `end`; `component`: a key of `names`.
CREATE TABLE backtraces (
    execution INTEGER NOT NULL,
    first INTEGER NOT NULL,
    end INTEGER NOT NULL,
    component INTEGER NOT NULL,
    stack INTEGER NOT NULL,
    PRIMARY KEY (execution, first)
) STRICT, WITHOUT ROWID;
