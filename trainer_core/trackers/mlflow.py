"""A run in MLflow, fed from the events. MLflow is imported when the first of them is delivered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from schemas.assignment import Assignment
from schemas.events import (
    CheckpointSaved,
    EpochCompleted,
    EpochStarted,
    JobStarted,
    RunResolved,
    RunRestored,
    Step,
    WorkerLine,
)
from schemas.result import EpochRow, Tracking
from trainer_core.trackers.destination import Destination
from trainer_core.trackers.mlflow_copy import FIGURES_PER_CALL, NAMES_PER_CALL, REPLACES_TAG, copy_until
from trainer_core.trackers.mlflow_entries import (
    ATTEMPT_TAG,
    EPOCH_KEY,
    JOB_ID_TAG,
    Figure,
    epoch_figures,
    is_of_a_step,
    milliseconds,
    parameters,
    run_tags,
    step_figures,
    version_tags,
)
from trainer_core.trackers.mlflow_store import find_experiment, open_store

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

_STATUS = {"succeeded": "FINISHED", "early_stopped": "FINISHED", "cancelled": "KILLED", "paused": "KILLED"}
# An event of a step has the one or the other, or both.
_STEP_KEYS = ("step/loss", "system/samples_per_second")


@dataclass
class _Batch:
    """What some events bring."""

    figures: list[Figure] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class _OpenRun:
    """A run that exists in a store, and what the store already knows of it."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._parameters = set(client.get_run(run_id).data.params)
        self._epochs = {point.step for point in client.get_metric_history(run_id, EPOCH_KEY)}
        steps = (point.step for key in _STEP_KEYS for point in client.get_metric_history(run_id, key))
        self._step = max(steps, default=0)

    def log(self, batch: _Batch) -> None:
        """Deliver ``batch``, in calls as large as MLflow takes. Again: parameters and epochs it knows stay as they are."""
        from mlflow.entities import Metric, Param, RunTag

        figures = [Metric(*figure) for figure in batch.figures]
        for start in range(0, len(figures), FIGURES_PER_CALL):
            self.client.log_batch(self.run_id, metrics=figures[start : start + FIGURES_PER_CALL])
        new = [Param(key, value) for key, value in batch.parameters.items() if key not in self._parameters]
        for start in range(0, len(new), NAMES_PER_CALL):
            self.client.log_batch(self.run_id, params=new[start : start + NAMES_PER_CALL])
        tags = [RunTag(key, value) for key, value in batch.tags.items()]
        for start in range(0, len(tags), NAMES_PER_CALL):
            self.client.log_batch(self.run_id, tags=tags[start : start + NAMES_PER_CALL])
        self._parameters.update(batch.parameters)
        self._epochs.update(figure.step for figure in batch.figures if figure.key == EPOCH_KEY)
        self._step = max([self._step, *(figure.step for figure in batch.figures if is_of_a_step(figure.key))])

    def knows(self, epoch: int) -> bool:
        """Whether all figures of ``epoch`` are in the store."""
        return epoch in self._epochs

    def goes_beyond(self, step: int, epoch: int) -> bool:
        """Whether any figure is of a later step or epoch."""
        return self._step > step or max(self._epochs, default=0) > epoch

    def knows_parameters(self) -> bool:
        """Whether any parameter is in the store."""
        return bool(self._parameters)


class MlflowRun:
    """One run per job: a later attempt goes on with the run of the earlier, and delivering a log twice adds nothing.

    Where training goes back to a checkpoint, what was logged after it is of a model that is no more, and those steps are
    trained again: a copy of the run without them takes its place.
    """

    seconds_between_reads: ClassVar[float] = 0.5

    def __init__(self, assignment: Assignment, destination: Destination, report: Callable[[Tracking], None]) -> None:
        self._assignment = assignment
        self._destination = destination
        self._report = report
        self._run: _OpenRun | None = None
        self._best: CheckpointSaved | None = None
        self._last: CheckpointSaved | None = None
        self._events = 0
        self._time = 0
        self._follows = False

    def take(self, lines: Sequence[WorkerLine]) -> None:
        """Deliver what ``lines`` mean; raises what MLflow raises, and may then be called again."""
        run = self._open(milliseconds(lines[0].time))
        batch = _Batch()
        for line in lines:
            point = self._goes_on_from(line)
            if point is not None:
                run.log(batch)
                run, batch = self._until(run, *point), _Batch()
                self._follows = False
            self._translate(line, run, batch)
        run.log(batch)
        self._time = milliseconds(lines[-1].time)
        self._events += len(lines)
        self._say(f"Delivering; {self._events} events so far.")

    def close(self, state: str) -> None:
        """Set the run's last tags, its artifact and its status."""
        run = self._open(self._time)
        request = self._assignment.request.to_json()
        batch = _Batch(
            parameters={} if run.knows_parameters() else parameters(request), tags={"pytorch_trainer.state": state}
        )
        checkpoint = self._best or self._last
        if checkpoint is not None:
            batch.tags["pytorch_trainer.checkpoint"] = checkpoint.path
            run.client.log_dict(run.run_id, checkpoint.to_json(), "checkpoint.json")
        run.log(batch)
        run.client.set_terminated(run.run_id, _STATUS.get(state, "FAILED"), end_time=self._time or None)
        self._say(None)

    def fail(self, reason: str) -> None:
        """Leave the reason where the worker reads it."""
        self._say(reason)

    def _say(self, message: str | None) -> None:
        self._report(self._destination.tracking(message, self._run.run_id if self._run else None))

    def _open(self, started: int) -> _OpenRun:
        if self._run is None:
            self._say("Opening the store.")
            client = open_store(self._destination)
            experiment = find_experiment(client, self._destination)
            self._say("Opening the run.")
            self._run = _OpenRun(client, self._find_run(client, experiment, started))
        return self._run

    def _goes_on_from(self, line: WorkerLine) -> tuple[int, int] | None:
        """The step and epoch after which training goes on anew from here; None where it just goes on."""
        if line.type == RunRestored.event_type:
            restored = RunRestored.model_validate(line.data)
            return restored.step, restored.epoch
        if line.type == EpochStarted.event_type and self._follows:
            # An attempt after another that goes on from nothing begins anew.
            return 0, 0
        return None

    def _until(self, run: _OpenRun, step: int, epoch: int) -> _OpenRun:
        """``run``, or a copy that takes its place where it goes beyond ``step`` and ``epoch``."""
        if not run.goes_beyond(step, epoch):
            return run
        self._say(f"Taking back what came after step {step}.")
        self._run = _OpenRun(run.client, copy_until(run.client, run.run_id, step=step, epoch=epoch))
        return self._run

    def _find_run(self, client: "MlflowClient", experiment: str, started: int) -> str:
        tags = run_tags(self._assignment)
        found = list(client.search_runs([experiment], f"tags.`{JOB_ID_TAG}` = '{self._assignment.job_id}'"))
        if not found:
            run = client.create_run(experiment, started or None, tags, self._destination.run_name)
            return str(run.info.run_id)
        replaced = {run.data.tags.get(REPLACES_TAG) for run in found}
        newest = next(run for run in found if run.info.run_id not in replaced)
        self._follows = newest.data.tags.get(ATTEMPT_TAG) != str(self._assignment.attempt)
        run_id = str(newest.info.run_id)
        _OpenRun(client, run_id).log(_Batch(tags=tags))
        client.update_run(run_id, status="RUNNING")
        return run_id

    def _translate(self, line: WorkerLine, run: _OpenRun, batch: _Batch) -> None:
        time = milliseconds(line.time)
        if line.type == Step.event_type:
            batch.figures += step_figures(Step.model_validate(line.data), time)
        elif line.type == EpochCompleted.event_type:
            self._add_epochs([EpochCompleted.model_validate(line.data)], time, run, batch)
        elif line.type == RunRestored.event_type:
            self._add_epochs(RunRestored.model_validate(line.data).history, time, run, batch)
        elif line.type == CheckpointSaved.event_type:
            self._last = CheckpointSaved.model_validate(line.data)
            self._best = self._last if self._last.is_best else self._best
        elif line.type == RunResolved.event_type:
            batch.parameters |= parameters(RunResolved.model_validate(line.data).resolved)
        elif line.type == JobStarted.event_type:
            batch.tags |= version_tags(JobStarted.model_validate(line.data).versions)

    def _add_epochs(self, rows: Sequence[EpochRow], time: int, run: _OpenRun, batch: _Batch) -> None:
        for row in rows:
            if not run.knows(row.epoch):
                batch.figures += epoch_figures(row, time)
