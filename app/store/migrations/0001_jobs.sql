-- Version 1. A job, its attempts, and everything that was said about it. Times are RFC 3339, UTC; documents are JSON.

CREATE TABLE job (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of acceptance, which is the order of the queue
    job_id          TEXT    NOT NULL UNIQUE,
    state           TEXT    NOT NULL,
    reason_code     TEXT,
    reason_message  TEXT,
    request         TEXT    NOT NULL,
    input_sha256    TEXT    NOT NULL,
    model_sha256    TEXT    NOT NULL,
    git_commit      TEXT,
    engine          TEXT    NOT NULL,
    labels          TEXT    NOT NULL,
    devices         INTEGER NOT NULL,
    idempotency_key TEXT    UNIQUE,
    created_at      TEXT    NOT NULL,
    started_at      TEXT,
    finished_at     TEXT,
    attempt         INTEGER NOT NULL DEFAULT 0,          -- the fence
    assigned        TEXT    NOT NULL DEFAULT '[]',
    last_seq        INTEGER NOT NULL DEFAULT -1,
    progress        TEXT    NOT NULL DEFAULT '{}',
    payload         TEXT
) STRICT;

CREATE INDEX job_by_state ON job (state, number);

CREATE TABLE attempt (
    job_id      TEXT    NOT NULL REFERENCES job (job_id),
    attempt     INTEGER NOT NULL,
    read_offset INTEGER NOT NULL DEFAULT 0,              -- bytes of the attempt's event file that are stored
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    job_id  TEXT    NOT NULL REFERENCES job (job_id),
    seq     INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    time    TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    data    TEXT    NOT NULL,
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
