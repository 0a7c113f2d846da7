-- name: page
-- description: A page of state rows: a template that takes the conditions below. `+`: lists follow their order, and only
--     a tree or a prefix of an id is looked up by key.
SELECT * FROM states WHERE {conditions} ORDER BY created_at {direction}, execution_id {direction} LIMIT :length

-- name: where_all
-- description: No condition.
TRUE

-- name: where_top_level
-- description: Executions without a parent.
+root = 0

-- name: where_tree
-- description: A top-level execution and all that derive from it.
key IN (SELECT :root UNION ALL SELECT key FROM executions WHERE root = :root)

-- name: where_subtree
-- description: A derived execution and all that derive from it.
key IN (
    SELECT key FROM executions
    WHERE root = :root AND (path = :path OR (path >= :path || '.' AND path < :path || '/'))
)

-- name: where_id_prefix
-- description: Executions whose id begins so: those with a matching root, then the rest of the prefix.
key IN (
    SELECT key FROM executions WHERE root = 0 AND path >= :id_head AND path < :id_head_end
    UNION ALL
    SELECT d.key FROM executions AS t JOIN executions AS d ON d.root = t.key
    WHERE t.root = 0 AND t.path >= :id_head AND t.path < :id_head_end
) AND substr(execution_id, 1, length(:id_prefix)) = :id_prefix

-- name: where_ffqn
-- description: Executions of one function.
ffqn = :ffqn

-- name: where_ffqn_prefix
-- description: Executions of functions whose name begins so.
substr(ffqn, 1, length(:ffqn_prefix)) = :ffqn_prefix

-- name: where_open
-- description: Executions that are not finished.
+finish_kind IS NULL

-- name: where_components
-- description: Executions of some components, given as a JSON array.
component IN (SELECT value FROM json_each(:components))

-- name: where_deployment
-- description: Executions of one deployment.
deployment = :deployment

-- name: where_older
-- description: From a place in the order towards older ones.
created_at <= :at AND (created_at < :at OR execution_id < :id OR (:inclusive AND execution_id = :id))

-- name: where_newer
-- description: From a place in the order towards newer ones.
created_at >= :at AND (created_at > :at OR execution_id > :id OR (:inclusive AND execution_id = :id))

-- name: is_pending
-- description: Pending and due.
(status = 'pending' AND lifecycle = 'active' AND pending_at <= :now)

-- name: is_scheduled
-- description: Pending, but not yet due.
(status = 'pending' AND lifecycle = 'active' AND pending_at > :now)

-- name: is_locked
-- description: A run is working on it.
(status = 'locked' AND lifecycle = 'active')

-- name: is_blocked
-- description: It awaits a response.
(status = 'blocked' AND lifecycle = 'active')

-- name: is_paused
-- description: An operator paused it.
(status <> 'finished' AND lifecycle = 'paused')

-- name: is_cancelling
-- description: It is being cancelled.
(status <> 'finished' AND lifecycle = 'cancelling')

-- name: is_parked
-- description: It cannot go on as it is.
(status <> 'finished' AND lifecycle = 'parked')

-- name: is_finished
-- description: It ended.
status = 'finished'

-- name: is_finished_ok
-- description: It returned ok.
(status = 'finished' AND finish_kind = 'ok')

-- name: is_finished_err
-- description: It returned err.
(status = 'finished' AND finish_kind = 'err')

-- name: is_finished_failure
-- description: The platform ended it.
(status = 'finished' AND finish_kind NOT IN ('ok', 'err'))
