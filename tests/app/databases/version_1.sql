-- A database of version 1, as the release that had this version wrote it: jobs in several states, their attempts and events.
-- A dump (sqlite3.Connection.iterdump) of what that release's store made; never edited.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempt (
    job_id      TEXT    NOT NULL REFERENCES job (job_id),
    attempt     INTEGER NOT NULL,
    read_offset INTEGER NOT NULL DEFAULT 0,              -- bytes of the attempt's event file that are stored
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempt" VALUES('job_cancelling',1,0);
INSERT INTO "attempt" VALUES('job_failed',1,0);
INSERT INTO "attempt" VALUES('job_lost',1,0);
INSERT INTO "attempt" VALUES('job_running',1,300);
INSERT INTO "attempt" VALUES('job_succeeded',1,500);
CREATE TABLE event (
    job_id  TEXT    NOT NULL REFERENCES job (job_id),
    seq     INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    time    TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    data    TEXT    NOT NULL,
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "event" VALUES('job_cancelling',0,'job.queued','2026-11-28T17:15:39.220Z',0,'{"position":1}');
INSERT INTO "event" VALUES('job_cancelling',1,'job.cancelling','2026-11-28T17:15:39.221Z',1,'{"reason":"A client asked for it."}');
INSERT INTO "event" VALUES('job_failed',0,'job.queued','2026-11-28T17:15:39.214Z',0,'{"position":0}');
INSERT INTO "event" VALUES('job_failed',1,'job.completed','2026-11-28T17:15:39.215Z',1,'{"state":"failed","output":{"status":"error","jobId":"job_failed","metrics":{},"checkpointPath":""}}');
INSERT INTO "event" VALUES('job_lost',0,'job.queued','2026-11-28T17:15:39.218Z',0,'{"position":0}');
INSERT INTO "event" VALUES('job_lost',1,'attempt.failed','2026-11-28T17:15:39.219Z',1,'{"code":"worker_lost","willRetry":true,"message":"It is gone.","afterSeconds":2.0}');
INSERT INTO "event" VALUES('job_paused',0,'job.queued','2026-11-28T17:15:39.217Z',0,'{"position":0}');
INSERT INTO "event" VALUES('job_paused',1,'job.paused','2026-11-28T17:15:39.218Z',0,'{}');
INSERT INTO "event" VALUES('job_queued',0,'job.queued','2026-11-28T17:15:39.221Z',0,'{"position":1}');
INSERT INTO "event" VALUES('job_running',0,'job.queued','2026-11-28T17:15:39.216Z',0,'{"position":0}');
INSERT INTO "event" VALUES('job_running',1,'job.started','2026-01-02T03:04:05.678Z',1,'{"pid":8,"engine":"native","devices":["cpu"],"versions":{}}');
INSERT INTO "event" VALUES('job_running',2,'epoch.started','2026-01-02T03:04:05.678Z',1,'{"epoch":1,"epochs":2,"steps":4}');
INSERT INTO "event" VALUES('job_succeeded',0,'job.queued','2026-11-28T17:15:39.211Z',0,'{"position":0}');
INSERT INTO "event" VALUES('job_succeeded',1,'job.started','2026-01-02T03:04:05.678Z',1,'{"pid":7,"engine":"native","devices":["cpu"],"versions":{"torch":"2.13.0"}}');
INSERT INTO "event" VALUES('job_succeeded',2,'epoch.started','2026-01-02T03:04:05.678Z',1,'{"epoch":1,"epochs":1,"steps":4}');
INSERT INTO "event" VALUES('job_succeeded',3,'step','2026-01-02T03:04:05.678Z',1,'{"epoch":1,"step":4,"totalSteps":4,"loss":0.5,"learningRate":0.1}');
INSERT INTO "event" VALUES('job_succeeded',4,'epoch.completed','2026-01-02T03:04:05.678Z',1,'{"epoch":1,"trainLoss":0.5,"metrics":{},"isBest":true}');
INSERT INTO "event" VALUES('job_succeeded',5,'run.finalizing','2026-01-02T03:04:05.678Z',1,'{"epochsTrained":1,"seconds":2.0}');
INSERT INTO "event" VALUES('job_succeeded',6,'job.completed','2026-11-28T17:15:39.214Z',1,'{"state":"succeeded","output":{"status":"success","jobId":"job_succeeded","checkpointPath":"/workspace/runs/epoch-1","metrics":{"trainLoss":0.5,"epochsTrained":1,"trainingTime":2.0},"learningCurve":[{"epoch":1,"trainLoss":0.5}]}}');
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
INSERT INTO "job" VALUES(1,'job_succeeded','succeeded',NULL,NULL,'{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,'key-of-succeeded','2026-11-28T17:15:39.211Z','2026-11-28T17:15:39.212Z','2026-11-28T17:15:39.214Z',1,'["cpu"]',6,'{"epoch":1,"epochs":1,"step":4,"totalSteps":4,"loss":0.5,"lossAverage":0.5}','{"status":"success","jobId":"job_succeeded","checkpointPath":"/workspace/runs/epoch-1","metrics":{"trainLoss":0.5,"epochsTrained":1,"trainingTime":2.0},"learningCurve":[{"epoch":1,"trainLoss":0.5}]}');
INSERT INTO "job" VALUES(2,'job_failed','failed','diverged','The loss is NaN.','{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,NULL,'2026-11-28T17:15:39.214Z','2026-11-28T17:15:39.215Z','2026-11-28T17:15:39.215Z',1,'["cpu"]',1,'{}','{"status":"error","jobId":"job_failed","metrics":{},"checkpointPath":""}');
INSERT INTO "job" VALUES(3,'job_running','running',NULL,NULL,'{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,NULL,'2026-11-28T17:15:39.216Z','2026-11-28T17:15:39.216Z',NULL,1,'["cpu"]',2,'{"epoch":1,"epochs":2}',NULL);
INSERT INTO "job" VALUES(4,'job_paused','paused','paused','A client asked for it.','{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,NULL,'2026-11-28T17:15:39.217Z',NULL,NULL,0,'[]',1,'{}',NULL);
INSERT INTO "job" VALUES(5,'job_lost','queued','worker_lost','It is gone.','{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,NULL,'2026-11-28T17:15:39.218Z','2026-11-28T17:15:39.219Z',NULL,1,'[]',1,'{}',NULL);
INSERT INTO "job" VALUES(6,'job_cancelling','cancelling','cancelled','A client asked for it.','{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','f00-dirty','native','{"made":"by version 1"}',1,NULL,'2026-11-28T17:15:39.220Z','2026-11-28T17:15:39.220Z',NULL,1,'["cuda:0"]',1,'{}',NULL);
INSERT INTO "job" VALUES(7,'job_queued','queued',NULL,NULL,'{"modelPath":"/workspace/model.py","dataConfig":{"trainPath":"/workspace/data"},"trainingConfig":{},"limits":{"maxAttempts":1},"labels":{"made":"by version 1"}}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',NULL,'sklearn','{"made":"by version 1"}',2,'key-of-queued','2026-11-28T17:15:39.221Z',NULL,NULL,0,'[]',0,'{}',NULL);
CREATE INDEX job_by_state ON job (state, number);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',7);
COMMIT;
