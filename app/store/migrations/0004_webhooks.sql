-- Who is told of a job's events: an outbox, written in the transaction that stores the event. And the trace of a job.

ALTER TABLE job ADD COLUMN notify TEXT NOT NULL DEFAULT '[]';   -- targets, as they were when the job was accepted
ALTER TABLE job ADD COLUMN traceparent TEXT;                     -- W3C: the request that the job came with

CREATE TABLE delivery (
    delivery_id TEXT    PRIMARY KEY,
    job_id      TEXT    NOT NULL REFERENCES job (job_id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    state       TEXT    NOT NULL DEFAULT 'pending',               -- pending, delivered, failed
    attempts    INTEGER NOT NULL DEFAULT 0,
    created_at  TEXT    NOT NULL,
    next_at     TEXT,                                             -- while it is pending
    finished_at TEXT,
    status      INTEGER,
    error       TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_due ON delivery (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX delivery_of_job ON delivery (job_id);
