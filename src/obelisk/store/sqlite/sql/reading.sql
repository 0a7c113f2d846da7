-- name: key_of
-- description: The key of an execution, by root key and path.
SELECT key FROM executions WHERE root = ? AND path = ?

-- name: state
-- description: A state row.
SELECT * FROM states WHERE key = ?

-- name: log
-- description: A piece of a log.
SELECT place, created_at, format, event FROM log WHERE place >= ? AND place < ? ORDER BY place LIMIT ?

-- name: responses
-- description: A piece of an execution's responses; how a child ended is taken from its log.
SELECT r.seq, r.created_at, r.delay, r.ok, c.path, r.version, l.format, l.event
FROM responses AS r
LEFT JOIN executions AS c ON c.key = r.child
LEFT JOIN log AS l ON l.place = (r.child << 32) + r.version
WHERE r.execution = ? AND r.seq >= ? ORDER BY r.seq LIMIT ?

-- name: requests
-- description: The inbox of an execution.
SELECT id, created_at, body FROM requests WHERE execution = ? ORDER BY id

-- name: delays
-- description: Unresolved delays of an execution.
SELECT delay, expires_at FROM delays WHERE execution = ? ORDER BY expires_at, delay
