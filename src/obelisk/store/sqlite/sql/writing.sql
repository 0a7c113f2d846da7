-- name: key_last
-- description: The highest key of an execution; the next one gets one more.
SELECT coalesce(max(key), 0) FROM executions

-- name: request_id_last
-- description: The highest id that a request ever got.
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'requests'

-- name: names_all
-- description: Every interned text with its key.
SELECT key, name FROM names WHERE key > ?

-- name: name_add
-- description: Interns a text.
INSERT INTO names (key, name) VALUES (?, ?)

-- name: head
-- description: Where the fences find an execution, by root key and path.
SELECT e.key, e.next_version, e.response_count, e.lease_epoch, o.name, e.lease_expires_at, c.name, d.name
FROM executions AS e
CROSS JOIN names AS c ON c.key = e.component
CROSS JOIN names AS d ON d.key = e.deployment
LEFT JOIN names AS o ON o.key = e.owner
WHERE e.root = ? AND e.path = ?

-- name: state_insert
-- description: The row of a new execution.
INSERT INTO executions (
    updated_at, status, lifecycle, next_version, response_count, responses_known, pending_at,
    run, executor, lock_expires_at, blocked_on, closing, failures, crashes, priority, owner, lease_epoch,
    lease_expires_at, finished_at, finish_kind, key, root, path, ffqn, component, deployment,
    created_at, first_scheduled_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: state_update
-- description: Everything of a row that changes all the time. Without the columns of the others the indexes are left alone.
-- It takes the parameters of `state_end`, and leaves out ?19 and ?20.
UPDATE executions SET
    updated_at = ?, status = ?, lifecycle = ?, next_version = ?, response_count = ?,
    responses_known = ?, pending_at = ?, run = ?, executor = ?, lock_expires_at = ?, blocked_on = ?, closing = ?,
    failures = ?, crashes = ?, priority = ?, owner = ?, lease_epoch = ?, lease_expires_at = ?
WHERE key = ?21

-- name: state_end
-- description: The same, with the end.
UPDATE executions SET
    updated_at = ?, status = ?, lifecycle = ?, next_version = ?, response_count = ?,
    responses_known = ?, pending_at = ?, run = ?, executor = ?, lock_expires_at = ?, blocked_on = ?, closing = ?,
    failures = ?, crashes = ?, priority = ?, owner = ?, lease_epoch = ?, lease_expires_at = ?, finished_at = ?,
    finish_kind = ?
WHERE key = ?

-- name: state_move
-- description: What a row runs on from here.
UPDATE executions SET component = ?, deployment = ? WHERE key = ?

-- name: state_count_responses
-- description: After a response from somebody who does not hold the execution: the count, and nothing else.
UPDATE executions SET response_count = ? WHERE key = ?

-- name: event_append
-- description: A row of a log, at the place that `place_of_event` tells of its execution and version.
INSERT INTO log (place, created_at, format, event) VALUES ((? << 32) + ?, ?, ?, ?)

-- name: response_append
-- description: A response, of a child or of a delay.
INSERT INTO responses (execution, seq, created_at, child, version, delay, ok) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: delay_add
-- description: A delay that waits for its instant.
INSERT INTO delays (execution, delay, expires_at) VALUES (?, ?, ?)

-- name: delay_remove
-- description: A delay that was resolved.
DELETE FROM delays WHERE execution = ? AND delay = ?

-- name: request_add
-- description: A request in an execution's inbox, unless it has finished.
INSERT INTO requests (id, execution, created_at, body)
SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM executions WHERE key = ? AND finish_kind IS NULL)

-- name: request_remove
-- description: A request that was answered.
DELETE FROM requests WHERE id = ?

-- name: requests_remove
-- description: The inbox of an execution that has finished.
DELETE FROM requests WHERE execution = ?

-- name: requests_of
-- description: Executions that have something in their inbox.
SELECT DISTINCT execution FROM requests

-- name: deployment_get
-- description: The deployment of a configuration.
SELECT id FROM deployments WHERE config_digest = ?

-- name: deployment_add
-- description: The first deployment of a configuration.
INSERT INTO deployments (config_digest, id, created_at) VALUES (?, ?, ?)
