-- name: lease_take_all
-- description: One process owns the file: every lease changes hands, without an expiry.
UPDATE executions SET owner = ?, lease_epoch = lease_epoch + 1, lease_expires_at = NULL WHERE finish_kind IS NULL

-- name: crash_count
-- description: The process went down during this execution's run.
UPDATE executions SET crashes = crashes + 1 WHERE key = ? AND status = 'locked'

-- name: lease_free
-- description: Leases that nobody holds any more, those that are due for the longest time first.
SELECT key FROM executions
WHERE finish_kind IS NULL AND (owner IS NULL OR lease_expires_at <= ?)
ORDER BY pending_at, key LIMIT ?

-- name: lease_take
-- description: A lease changes hands.
UPDATE executions SET owner = ?, lease_epoch = lease_epoch + 1, lease_expires_at = ? WHERE key = ?

-- name: lease_renew
-- description: Extends the leases of an owner; one without an expiry stays so, and none gets shorter.
UPDATE executions SET lease_expires_at = max(lease_expires_at, ?)
WHERE finish_kind IS NULL AND owner = ? AND lease_expires_at IS NOT NULL

-- name: states_open
-- description: State rows of everything that is not finished, in the order of creation.
SELECT * FROM states WHERE finish_kind IS NULL ORDER BY key

-- name: delays_open
-- description: Unresolved delays of everything that is not finished.
SELECT d.execution, d.delay, d.expires_at FROM delays AS d
JOIN executions AS e ON e.key = d.execution
WHERE e.finish_kind IS NULL
ORDER BY d.expires_at, d.execution, d.delay

-- name: news
-- description: Executions of an owner that have responses which it does not know, or requests.
SELECT execution_id FROM states
WHERE finish_kind IS NULL AND owner = ?
    AND (response_count > responses_known OR key IN (SELECT execution FROM requests))
ORDER BY key
