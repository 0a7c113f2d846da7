-- name: line_id_last
-- description: The highest id that a line ever got; the next one gets one more.
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'lines'

-- name: line_append
-- description: A line that a component logged; one whose place is taken was stored before.
INSERT INTO lines (id, root, execution, version, ordinal, run, created_at, kind, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution, version, ordinal) WHERE version IS NOT NULL DO NOTHING

-- name: lines_page
-- description: A page of lines: a template that takes conditions. The index is that of the first one; `+` keeps others from
--     being looked up.
SELECT l.id, CASE e.root WHEN 0 THEN e.path ELSE r.path || '.' || e.path END, l.run, l.created_at, l.kind, l.payload
FROM lines AS l
CROSS JOIN executions AS e ON e.key = l.execution
LEFT JOIN executions AS r ON r.key = e.root
WHERE {conditions} ORDER BY l.id {direction} LIMIT :length

-- name: lines_of_one
-- description: Those of one execution.
l.execution = :key

-- name: lines_of_tree
-- description: Those of a top-level execution and of all that derive from it.
l.root = :root

-- name: lines_of_subtree
-- description: Those of a derived execution and of all that derive from it.
l.root = :root AND +l.execution IN (
    SELECT key FROM executions
    WHERE root = :root AND (path = :path OR (path >= :path || '.' AND path < :path || '/'))
)

-- name: lines_of_kinds
-- description: Those of some kinds, given as a JSON array.
+l.kind IN (SELECT value FROM json_each(:kinds))

-- name: lines_later
-- description: Those that were logged later.
+l.created_at > :after

-- name: lines_newer
-- description: From a cursor on.
l.id > :cursor

-- name: lines_older
-- description: Up to a cursor.
l.id < :cursor
