-- Every statement about deleted jobs, by name.

-- name: job
SELECT * FROM job WHERE job_id = :job_id;

-- name: user
SELECT job_id FROM job
WHERE state NOT IN (SELECT value FROM json_each(:terminal)) AND instr(request, :job_id) > 0
ORDER BY number
LIMIT 1;

-- name: going_on
SELECT * FROM job
WHERE state NOT IN (SELECT value FROM json_each(:terminal))
  AND json_extract(request, '$.checkpointConfig.resumeFrom') IS NOT NULL
ORDER BY number;

-- name: insert
INSERT INTO tombstone (job_id, state, engine, input_sha256, model_sha256, payload_sha256, idempotency_key, created_at,
                       finished_at, deleted_at)
SELECT job_id, state, engine, input_sha256, model_sha256, :payload_sha256, idempotency_key, created_at, finished_at, :time
FROM job
WHERE job_id = :job_id;

-- name: delete_events
DELETE FROM event WHERE job_id = :job_id;

-- name: delete_attempts
DELETE FROM attempt WHERE job_id = :job_id;

-- name: delete_job
DELETE FROM job WHERE job_id = :job_id;

-- name: tombstone
SELECT * FROM tombstone WHERE job_id = :job_id;

-- name: tombstone_of_key
SELECT * FROM tombstone WHERE idempotency_key = :idempotency_key;

-- name: settled
SELECT job_id, finished_at FROM job
WHERE state IN (SELECT value FROM json_each(:terminal))
ORDER BY finished_at DESC, number DESC;
