-- A rest between two attempts outlives the service.

ALTER TABLE job ADD COLUMN rests_until TEXT;             -- RFC 3339, UTC; the attempt that follows is not begun before
CREATE INDEX job_resting ON job (rests_until) WHERE rests_until IS NOT NULL;
