-- The first schema. Instants are microseconds since 1970.

-- Long texts that repeat (functions, digests, deployments, executors), written once.
CREATE TABLE names (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The state rows. An execution is found by (root, path): a top-level one has root 0 and its id as the path, a derived
-- one has the key of its root, and as the path what follows the root's id and a dot.
CREATE TABLE executions (
    key INTEGER PRIMARY KEY,
    root INTEGER NOT NULL,
    path TEXT NOT NULL,
    ffqn INTEGER NOT NULL,
    component INTEGER NOT NULL,
    deployment INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    first_scheduled_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    next_version INTEGER NOT NULL,
    response_count INTEGER NOT NULL,
    responses_known INTEGER NOT NULL,
    pending_at INTEGER NOT NULL,
    run TEXT,
    executor INTEGER,
    lock_expires_at INTEGER NOT NULL,
    blocked_on TEXT,
    closing INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    finished_at INTEGER,
    finish_kind TEXT,
    priority INTEGER NOT NULL,
    owner INTEGER,
    lease_epoch INTEGER NOT NULL,
    lease_expires_at INTEGER,
    UNIQUE (root, path)
) STRICT;

-- Lists are sorted by creation.
CREATE INDEX executions_by_creation ON executions (created_at);

-- What is not finished: recovery and queues look at nothing else.
CREATE INDEX executions_open ON executions (finish_kind) WHERE finish_kind IS NULL;

-- The logs, in the order of their place: the execution's key times 2^32, plus the version. (One number, so that this is
-- a b-tree with all rows in its leaves, to which appending is cheapest.) `event` is JSON; names are written as "#KEY".
CREATE TABLE log (
    place INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    event BLOB NOT NULL
) STRICT;

-- Responses. How a child ended is in its log, at `version`; a delay has no log.
CREATE TABLE responses (
    execution INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    child INTEGER,
    version INTEGER,
    delay TEXT,
    ok INTEGER,
    PRIMARY KEY (execution, seq)
) STRICT, WITHOUT ROWID;

-- Delays that are not resolved.
CREATE TABLE delays (
    execution INTEGER NOT NULL,
    delay TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (execution, delay)
) STRICT, WITHOUT ROWID;

-- The inbox: what others want of an execution. AUTOINCREMENT: an id is never given twice.
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE deployments (
    config_digest TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- State rows as they are read: with ids and names. CROSS JOIN: the order of the loops is fixed.
CREATE VIEW states AS
SELECT
    e.key, e.root, e.path,
    CASE e.root WHEN 0 THEN e.path ELSE r.path || '.' || e.path END AS execution_id,
    f.name AS ffqn, c.name AS component, d.name AS deployment,
    e.created_at, e.first_scheduled_at, e.updated_at, e.status, e.lifecycle,
    e.next_version, e.response_count, e.responses_known,
    e.pending_at, e.run, x.name AS executor, e.lock_expires_at, e.blocked_on, e.closing, e.failures, e.crashes,
    e.finished_at, e.finish_kind, e.priority, o.name AS owner, e.lease_epoch, e.lease_expires_at
FROM executions AS e
CROSS JOIN names AS f ON f.key = e.ffqn
CROSS JOIN names AS c ON c.key = e.component
CROSS JOIN names AS d ON d.key = e.deployment
LEFT JOIN executions AS r ON r.key = e.root
LEFT JOIN names AS x ON x.key = e.executor
LEFT JOIN names AS o ON o.key = e.owner;

-- Logs for people with a SQLite shell.
CREATE VIEW events AS
SELECT s.execution_id, l.place & 0xffffffff AS version, l.created_at, l.format, CAST(l.event AS TEXT) AS event
FROM log AS l JOIN states AS s ON s.key = l.place >> 32;
