-- name: page
-- description: A page of state rows: a template that takes the conditions below. Those called `by_` are found by an index, in
--     the order of lists; the reader chooses one at most. `+`: the others are only looked at.
SELECT * FROM states WHERE {conditions} ORDER BY created_at {direction}, execution_id {direction} LIMIT :length

-- name: where_all
-- description: No condition.
TRUE

-- name: where_top_level
-- description: Executions without a parent.
+root = 0

-- name: by_top_level
-- description: The same, by its index; the bound, which holds for all, makes SQLite prefer it to others that have no children.
NOT root AND created_at >= 0

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

-- name: id_prefix_count
-- description: How many top-level executions have an id that begins so, up to what is enough.
SELECT count(*) FROM (
    SELECT 1 FROM executions WHERE root = 0 AND path >= ? AND path < ? LIMIT ?
)

-- name: where_id_prefix_common
-- description: Executions whose id begins so, when there are many.
substr(execution_id, 1, length(:id_prefix)) = :id_prefix

-- name: name_key
-- description: The key of a name.
SELECT key FROM names WHERE name = ?

-- name: names_beginning
-- description: The keys of names that begin so. Those of functions are among others, which are no function of any execution.
SELECT key FROM names WHERE name >= ? AND name < ?

-- name: where_functions
-- description: Executions of some functions, given as a JSON array of keys.
+ffqn_key IN (SELECT value FROM json_each(:functions))

-- name: by_function
-- description: Top-level executions of one function, by its index.
NOT root AND ffqn_key = :name

-- name: by_functions
-- description: Top-level executions of some functions, of which there are few.
key IN (SELECT key FROM executions WHERE NOT root AND ffqn IN (SELECT value FROM json_each(:functions)))

-- name: functions_count
-- description: How many there are, up to what is enough.
SELECT count(*) FROM (
    SELECT 1 FROM executions WHERE NOT root AND ffqn IN (SELECT value FROM json_each(?)) LIMIT ?
)

-- name: where_components
-- description: Executions of some components, given as a JSON array of keys.
+component_key IN (SELECT value FROM json_each(:components))

-- name: by_component
-- description: Top-level executions of one component, by its index.
NOT root AND component_key = :name

-- name: by_components
-- description: Top-level executions of some components, of which there are few.
key IN (SELECT key FROM executions WHERE NOT root AND component IN (SELECT value FROM json_each(:components)))

-- name: components_count
-- description: How many there are, up to what is enough.
SELECT count(*) FROM (
    SELECT 1 FROM executions WHERE NOT root AND component IN (SELECT value FROM json_each(?)) LIMIT ?
)

-- name: where_deployments
-- description: Executions of some deployments, given as a JSON array of keys.
+deployment_key IN (SELECT value FROM json_each(:deployments))

-- name: by_deployment
-- description: Top-level executions of one deployment, by its index.
NOT root AND deployment_key = :name

-- name: by_deployments
-- description: Top-level executions of some deployments, of which there are few.
key IN (SELECT key FROM executions WHERE NOT root AND deployment IN (SELECT value FROM json_each(:deployments)))

-- name: deployments_count
-- description: How many there are, up to what is enough.
SELECT count(*) FROM (
    SELECT 1 FROM executions WHERE NOT root AND deployment IN (SELECT value FROM json_each(?)) LIMIT ?
)

-- name: where_open
-- description: Executions that are not finished.
+finish_kind IS NULL

-- name: by_open
-- description: The same, by its index.
finish_kind IS NULL

-- name: by_failed
-- description: Executions that ended, but not well, by their index.
finish_kind <> 'ok'

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
