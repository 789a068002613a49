"""How a job is accepted: once, durably, and leaving nothing behind when it is refused. Blocks; called in a thread."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ulid import ULID

from app.exchange import current
from app.free_space import shortage
from app.gate.gate import Admitted, Gate
from app.job_folder import make_job_folder, remove_job_folder
from app.problems import Refusal
from app.refusals import deleted, key_conflict
from app.revision import revision_of
from app.settings import Settings
from app.store.interface import JobRow, KeyConflict, KeyOfDeleted, NewJob, Store
from app.supervision.history import history_of
from app.supervision.settlement import events_of
from schemas.engines import ENGINES
from schemas.problems import RequestError


@dataclass(frozen=True)
class Submitted:
    """A job that is durable; ``new`` is False when its idempotency key had named it before. ``warnings`` say what in its
    input has no effect."""

    row: JobRow
    new: bool
    warnings: list[RequestError] = field(default_factory=list)


class Acceptance:
    """Takes requests into the store. Methods raise Refusal for what cannot be accepted."""

    def __init__(self, settings: Settings, store: Store, gate: Gate) -> None:
        self._settings = settings
        self._store = store
        self._gate = gate

    def submit(self, body: bytes, key: str | None, operation: str) -> Submitted:
        """Accept the job that ``body`` asks for, or find the one that came with this key. ``operation`` is what a refusal
        leads back to."""
        document = self._gate.read(body)
        return self._seen(document, key) or self._store_job(self._gate.admit(document, operation), key)

    def again(self, row: JobRow, key: str | None, *, anew: bool) -> Submitted:
        """Accept a new job of the request of ``row``, that goes on from what it has saved unless ``anew``."""
        document = dict(row.request)
        checkpointing = dict(document.get("checkpointConfig", {}))
        saved = history_of(events_of(self._store, row.job_id)).checkpoint
        if anew:
            checkpointing.pop("resumeFrom", None)
        elif saved is not None:
            # The run's folder: its newest whole checkpoint, should the newest be damaged.
            checkpointing["resumeFrom"] = str(Path(saved).parent)
        document |= {"checkpointConfig": checkpointing} if checkpointing else {}
        named = [dict(target) for target in row.notify if "everyJob" not in target]
        document |= {"notify": named} if named else {}
        return self._seen(document, key) or self._store_job(self._gate.admit(document), key)

    def _seen(self, document: Any, key: str | None) -> Submitted | None:
        """The job that came with this key and input before. Looked for before anything else: a submission that is
        sent again finds its job though its model file is gone by now, or the queue full."""
        row = self._store.of_key(key) if key is not None else None
        given = self._gate.given(document) if row is not None else None
        if row is None or given is None:
            return None
        if _hash_of(given) != row.input_sha256:
            raise key_conflict(row.job_id, key)
        return Submitted(row, new=False)

    def _store_job(self, admitted: Admitted, key: str | None) -> Submitted:
        self._refuse_when_full()
        if (short := shortage(self._settings)) is not None:
            raise Refusal("disk_full", short, headers={"Retry-After": "60"})
        job_id = f"job_{ULID()}"
        jobs = self._settings.jobs
        accepted = False
        try:
            make_job_folder(jobs, job_id, admitted.source.content)
            row, accepted = self._store.accept(self._new_job(job_id, admitted, key))
        except OSError as error:
            raise Refusal("disk_full", f"The job's folder cannot be written: {error.strerror}.") from error
        except KeyConflict as conflict:
            raise key_conflict(conflict.job_id, key) from None
        except KeyOfDeleted as gone:
            raise deleted(gone.tombstone, key) from None
        finally:
            if not accepted:
                remove_job_folder(jobs, job_id)
        return Submitted(row, accepted, admitted.warnings)

    def _new_job(self, job_id: str, admitted: Admitted, key: str | None) -> NewJob:
        return NewJob(
            job_id=job_id,
            # Without those who are told of it: the worker, which runs code of the user, and who reads the payload need not know.
            request={key: value for key, value in admitted.request.given().items() if key != "notify"},
            input_sha256=_hash_of(admitted.input),
            engine=admitted.engine,
            labels=admitted.request.labels,
            devices=(admitted.request.training_config.devices or 1) if ENGINES[admitted.engine].uses_gpu else 1,
            idempotency_key=key,
            model_sha256=hashlib.sha256(admitted.source.content).hexdigest(),
            git_commit=revision_of(self._settings.workspace),
            notify=self._targets_of(admitted),
            traceparent=exchange.traceparent if (exchange := current()) is not None else None,
        )

    def _targets_of(self, admitted: Admitted) -> list[dict[str, Any]]:
        """Who is told of the job: whom it names, and whom the service does. Fixed from here on."""
        named: list[dict[str, Any]] = [
            {"url": target.url, "events": list(target.events)} for target in admitted.request.notify
        ]
        if self._settings.webhook_url is not None:
            events = list(self._settings.webhook_events)
            named.append({"url": self._settings.webhook_url, "events": events, "everyJob": True})
        return named

    def _refuse_when_full(self) -> None:
        if self._store.queued() >= self._settings.max_queued_jobs:
            detail = f"{self._settings.max_queued_jobs} jobs are waiting; this service queues no more."
            raise Refusal("queue_full", detail, headers={"Retry-After": "60"})


def _hash_of(given: dict[str, Any]) -> str:
    """SHA-256 of an input, whatever the order of its keys."""
    canonical = json.dumps(given, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
