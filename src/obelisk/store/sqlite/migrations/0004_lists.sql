-- Lists that look for what is rare find it without looking at everything else. A child that runs well is in none of these but
-- the first, as before.

-- What is not finished, in the order of lists: recovery and queues look at nothing else, nor do lists of open executions.
DROP INDEX executions_open;

CREATE INDEX executions_open ON executions (finish_kind, created_at) WHERE finish_kind IS NULL;

-- What failed.
CREATE INDEX executions_failed ON executions (created_at, finish_kind) WHERE finish_kind <> 'ok';

-- Top-level executions. `NOT root`, since `root = 0` would be looked up in the index of (root, path).
CREATE INDEX executions_top ON executions (created_at) WHERE NOT root;

CREATE INDEX executions_of_function ON executions (ffqn, created_at) WHERE NOT root;

CREATE INDEX executions_of_component ON executions (component, created_at) WHERE NOT root;

CREATE INDEX executions_of_deployment ON executions (deployment, created_at) WHERE NOT root;

-- As before, and the keys of names, by which lists look.
DROP VIEW states;

CREATE VIEW states AS
SELECT
    e.key, e.root, e.path,
    CASE e.root WHEN 0 THEN e.path ELSE r.path || '.' || e.path END AS execution_id,
    f.name AS ffqn, c.name AS component, d.name AS deployment,
    e.created_at, e.first_scheduled_at, e.updated_at, e.status, e.lifecycle,
    e.next_version, e.response_count, e.responses_known,
    e.pending_at, e.run, x.name AS executor, e.lock_expires_at, e.blocked_on, e.closing, e.failures, e.crashes,
    e.finished_at, e.finish_kind, e.priority, o.name AS owner, e.lease_epoch, e.lease_expires_at,
    e.ffqn AS ffqn_key, e.component AS component_key, e.deployment AS deployment_key
FROM executions AS e
CROSS JOIN names AS f ON f.key = e.ffqn
CROSS JOIN names AS c ON c.key = e.component
CROSS JOIN names AS d ON d.key = e.deployment
LEFT JOIN executions AS r ON r.key = e.root
LEFT JOIN names AS x ON x.key = e.executor
LEFT JOIN names AS o ON o.key = e.owner;
