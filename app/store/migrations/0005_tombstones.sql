-- What stays of a job that was deleted: its name, what it was made from, what came of it, and the key that it came with.

CREATE TABLE tombstone (
    job_id          TEXT NOT NULL PRIMARY KEY,
    state           TEXT NOT NULL,
    engine          TEXT NOT NULL,
    input_sha256    TEXT NOT NULL,
    model_sha256    TEXT NOT NULL,
    payload_sha256  TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    created_at      TEXT NOT NULL,
    finished_at     TEXT NOT NULL,
    deleted_at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
