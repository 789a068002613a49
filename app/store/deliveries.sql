-- Every statement about deliveries, by name.

-- name: insert
INSERT INTO delivery (delivery_id, job_id, seq, type, url, created_at, next_at)
SELECT :delivery_id, :job_id, :seq, :type, :url, :time, :time
WHERE (SELECT count(*) FROM delivery WHERE job_id = :job_id) < :most
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE job_id = :job_id AND url = :url AND state = 'failed');

-- A few of each URL: a receiver that is owed thousands keeps nobody else's from being seen.

-- name: due
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY url ORDER BY next_at) AS place FROM delivery WHERE next_at <= :time
)
WHERE place <= 4 ORDER BY next_at LIMIT :limit;

-- name: next_after
SELECT min(next_at) FROM delivery WHERE next_at > :time;

-- name: record
UPDATE delivery
SET state = :state, attempts = attempts + 1, next_at = :next_at, finished_at = :finished_at, status = :status,
    error = :error
WHERE delivery_id = :delivery_id AND state = 'pending';

-- name: give_up
UPDATE delivery SET state = 'failed', next_at = NULL, finished_at = :time, error = :error
WHERE job_id = :job_id AND url = :url AND state = 'pending';

-- name: of_job
SELECT * FROM delivery WHERE job_id = :job_id ORDER BY seq, delivery_id;

-- name: pending
SELECT count(*) FROM delivery WHERE next_at IS NOT NULL;
