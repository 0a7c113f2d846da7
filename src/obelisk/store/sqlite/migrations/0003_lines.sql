-- What components log. `id` is the cursor of readers: it rises in the order of commits. AUTOINCREMENT: never given twice.
-- `root`: the key of the top-level execution, for whole trees. `version` and `ordinal`: the place of a workflow's line.
-- `kind`: 1 to 5 is a level of `obelisk:log` from trace to error, 6 is stdout, 7 stderr. `payload`: text in UTF-8, or what
-- was written to the stream.
CREATE TABLE lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    version INTEGER,
    ordinal INTEGER,
    run TEXT,
    created_at INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE INDEX lines_of_execution ON lines (execution);

CREATE INDEX lines_of_tree ON lines (root);

-- A line that a replay says again is not stored again.
CREATE UNIQUE INDEX lines_of_workflow ON lines (execution, version, ordinal) WHERE version IS NOT NULL;

-- Lines for people with a SQLite shell.
CREATE VIEW logged AS
SELECT l.id, s.execution_id, l.run, l.created_at, l.kind, CAST(l.payload AS TEXT) AS payload
FROM lines AS l JOIN states AS s ON s.key = l.execution;
