-- name: stack_add
-- description: Frames, unless they are there already.
INSERT OR IGNORE INTO stacks (digest, frames) VALUES (?, ?)

-- name: backtrace_add
-- description: The backtrace of a host call; in place of one that was made when the call had left fewer events.
INSERT OR REPLACE INTO backtraces (execution, first, end, component, stack)
SELECT ?, ?, ?, ?, key FROM stacks WHERE digest = ?

-- name: backtrace
-- description: The last backtrace that begins with an event or before it.
SELECT b.first, b.end, n.name, s.frames
FROM backtraces AS b
CROSS JOIN names AS n ON n.key = b.component
CROSS JOIN stacks AS s ON s.key = b.stack
WHERE b.execution = ? AND b.first <= ? ORDER BY b.first DESC LIMIT 1

-- name: backtraces
-- description: Which events have backtraces, in a part of a log.
SELECT first, end FROM backtraces WHERE execution = ? AND first < ? AND end > ? ORDER BY first
