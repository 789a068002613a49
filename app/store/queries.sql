-- Every statement of the store, by name.
-- The four that change a state (claim, move, release, settle) do so only from one of :sources, the states from which
-- the table of transitions leads to :state.

-- name: insert_job
INSERT INTO job (job_id, state, request, input_sha256, model_sha256, git_commit, engine, labels, devices,
                 idempotency_key, created_at, notify, traceparent)
VALUES (:job_id, :state, :request, :input_sha256, :model_sha256, :git_commit, :engine, :labels, :devices,
        :idempotency_key, :created_at, :notify, :traceparent);

-- name: claim
UPDATE job
SET state = :state, attempt = attempt + 1, assigned = :assigned, started_at = coalesce(started_at, :time),
    reason_code = NULL, reason_message = NULL, rests_until = NULL
WHERE job_id = :job_id AND state IN (SELECT value FROM json_each(:sources))
RETURNING *;

-- name: move
UPDATE job
SET state = :state, reason_code = :reason_code, reason_message = :reason_message
WHERE job_id = :job_id AND state IN (SELECT value FROM json_each(:sources))
RETURNING *;

-- name: release
UPDATE job
SET state = :state, assigned = '[]', rests_until = :rests_until, reason_code = :reason_code, reason_message = :reason_message
WHERE job_id = :job_id AND attempt = :attempt AND state IN (SELECT value FROM json_each(:sources))
RETURNING *;

-- name: settle
UPDATE job
SET state = :state, payload = :payload, finished_at = :time,
    reason_code = :reason_code, reason_message = :reason_message
WHERE job_id = :job_id AND attempt = :attempt AND state IN (SELECT value FROM json_each(:sources))
RETURNING *;

-- name: insert_attempt
INSERT INTO attempt (job_id, attempt) VALUES (:job_id, :attempt);

-- name: insert_event
INSERT INTO event (job_id, seq, type, time, attempt, data) VALUES (:job_id, :seq, :type, :time, :attempt, :data);

-- name: record_news
UPDATE job SET last_seq = :last_seq, progress = :progress WHERE job_id = :job_id;

-- name: record_offset
UPDATE attempt SET read_offset = :read_offset WHERE job_id = :job_id AND attempt = :attempt;

-- name: job
SELECT * FROM job WHERE job_id = :job_id;

-- name: ids
SELECT job_id FROM job;

-- name: job_of_key
SELECT * FROM job WHERE idempotency_key = :idempotency_key;

-- name: jobs
SELECT * FROM job
WHERE (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
  AND (:label_name IS NULL
       OR EXISTS (SELECT 1 FROM json_each(job.labels) WHERE key = :label_name AND value = :label_value))
  AND (:before IS NULL OR number < (SELECT number FROM job WHERE job_id = :before))
ORDER BY number DESC
LIMIT :limit;

-- name: oldest
SELECT * FROM job
WHERE state IN (SELECT value FROM json_each(:states))
  AND (:only = '[]' OR engine IN (SELECT value FROM json_each(:only)))
  AND engine NOT IN (SELECT value FROM json_each(:but))
ORDER BY number
LIMIT :limit;

-- name: resting
SELECT * FROM job WHERE rests_until IS NOT NULL AND state = 'queued' ORDER BY number;

-- name: queued
SELECT count(*) FROM job WHERE state = 'queued';

-- name: position
SELECT count(*) FROM job AS ahead
WHERE ahead.state = 'queued' AND ahead.number < (SELECT number FROM job WHERE job_id = :job_id AND state = 'queued');

-- name: counts
SELECT state, count(*) FROM job GROUP BY state;

-- name: offset
SELECT read_offset FROM attempt WHERE job_id = :job_id AND attempt = :attempt;

-- name: events
SELECT * FROM event WHERE job_id = :job_id AND seq > :after ORDER BY seq LIMIT :limit;
