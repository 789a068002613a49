"""Gauges for Prometheus: a snapshot, as families of metrics.

Figures of single jobs are those of jobs that have a worker now: as many as there are devices, and gone with the job.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_args

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from app.observing.snapshot import Snapshot
from app.store.interface import JobRow
from schemas.job import JobState, Progress

_OF_A_JOB: tuple[tuple[str, str, Callable[[Progress], float | None]], ...] = (
    ("job_loss", "Training loss of the newest report.", lambda progress: progress.loss),
    ("job_samples_per_second", "Samples trained a second.", lambda progress: progress.samples_per_second),
    ("job_epoch", "Epoch being trained, from 1.", lambda progress: progress.epoch),
    ("job_progress_ratio", "Optimizer steps done, as a share of all.", lambda progress: _share(progress)),
)


def gauges(snapshot: Snapshot) -> Iterator[Metric]:
    """The families of ``snapshot``; what is not known has no sample."""
    yield _gauge("info", "The release that runs.", {(version("pytorch-trainer"),): 1}, "version")
    yield _gauge("store_up", "Whether the store can be read.", {(): snapshot.jobs is not None})
    yield _gauge("draining", "Whether the service is closing.", {(): snapshot.draining})
    counted = snapshot.jobs or {}
    states = {(state,): counted.get(state, 0) for state in get_args(JobState)} if snapshot.jobs is not None else {}
    yield _gauge("jobs", "Jobs in the store.", states, "state")
    yield _gauge("devices", "Jobs that can run at once.", _devices(snapshot, 1), "kind")
    yield _gauge("devices_in_use", "Of these, taken.", _devices(snapshot, 0), "kind")
    followers = {(kind,): float(count) for kind, count in snapshot.followers.items()}
    yield _gauge("followers", "Clients that stream, or wait for, a job.", followers, "kind")
    yield _gauge("disk_free_bytes", "Free on the data folder's disk.", {(): snapshot.disk_free_bytes})
    pending = {(): snapshot.webhooks_pending} if snapshot.webhooks_pending is not None else {}
    yield _gauge("webhooks_pending", "Webhooks that are on their way.", pending)
    for name, what, figure in _OF_A_JOB:
        yield _gauge(name, what, _of_jobs(snapshot.active or (), figure), "job_id")


def _gauge(name: str, what: str, samples: Mapping[Any, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"pytorch_trainer_{name}", what, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, value)
    return family


def _devices(snapshot: Snapshot, place: int) -> dict[tuple[str, ...], float]:
    return {(kind,): counts[place] for kind, counts in snapshot.devices.items()}


def _of_jobs(rows: Sequence[JobRow], figure: Callable[[Progress], float | None]) -> dict[tuple[str, ...], float]:
    found = {(row.job_id,): figure(row.progress) for row in rows}
    return {labels: value for labels, value in found.items() if value is not None}


def _share(progress: Progress) -> float | None:
    if progress.step is None or not progress.total_steps:
        return None
    return progress.step / progress.total_steps
