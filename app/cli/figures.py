"""What the events of a job say, as the figures and the lines a person wants to see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.text import untrusted

Data = dict[str, Any]


# Log lines of warnings and errors that a command shows of one job; the log has them all.
SHOWN_LOG_LINES = 20


@dataclass(frozen=True)
class Notice:
    """A line worth keeping on the screen."""

    level: Literal["info", "warning", "error"]
    text: str


@dataclass
class Figures:
    """The latest figures of a job; None until an event has brought them."""

    phase: str = "queued"
    epoch: int = 0
    epochs_done: int = 0
    epochs: int | None = None
    steps_per_epoch: int = 0
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    best_epoch: int | None = None
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint: str | None = None
    verbose: bool = False
    log_lines: int = 0

    def take(self, event: dict[str, Any]) -> Notice | None:
        """Learn from one event; what of it deserves a line of its own comes back."""
        kind, data = event["type"], event["data"]
        self._learn(kind, data)
        if kind == "log":
            return self._log(data)
        tell = _NOTICES.get(kind)
        return None if tell is None else tell(data)

    @property
    def fraction(self) -> float | None:
        """How much of the run is done, 0 to 1, or None while nothing is known."""
        if self.total_steps:
            return min(1.0, self.step / self.total_steps)
        if self.epochs:
            return min(1.0, self.epochs_done / self.epochs)
        return None

    def _log(self, data: Data) -> Notice | None:
        """A line of the log. Warnings and errors are shown, the first of them; all lines where verbose."""
        if not self.verbose and (data["level"] not in ("warning", "error") or self.log_lines > SHOWN_LOG_LINES):
            return None
        self.log_lines += 1
        if not self.verbose and self.log_lines > SHOWN_LOG_LINES:
            return Notice("info", "further log lines are not shown here; pytorch-trainer logs ID has them")
        level: Literal["info", "warning", "error"] = "info" if data["level"] == "debug" else data["level"]
        return Notice(level, f"[{data['stream']}] {untrusted(data['text'], 500).rstrip()}")

    def _learn(self, kind: str, data: Data) -> None:
        if kind == "step":
            self._learn_step(data)
        elif kind == "epoch.started":
            self.phase, self.epoch, self.epochs = "training", data["epoch"], data["epochs"]
            self.steps_per_epoch = data["steps"]
        elif kind == "epoch.completed":
            self._learn_epoch(data)
        elif kind == "checkpoint.saved":
            self.checkpoint = data["path"]
        else:
            self.phase = _PHASES.get(kind, self.phase)

    def _learn_step(self, data: Data) -> None:
        self.epoch, self.step, self.total_steps = data["epoch"], data["step"], data["totalSteps"]
        self.loss = data.get("lossAverage", data.get("loss"))
        self.accuracy = data.get("accuracy", self.accuracy)
        self.samples_per_second = data.get("samplesPerSecond", self.samples_per_second)
        self.eta_seconds = data.get("etaSeconds")

    def _learn_epoch(self, data: Data) -> None:
        self.epoch = self.epochs_done = data["epoch"]
        self.loss, self.accuracy = data.get("trainLoss"), data.get("trainAccuracy")
        self.val_loss, self.val_accuracy = data.get("valLoss"), data.get("valAccuracy")
        self.samples_per_second = data.get("samplesPerSecond", self.samples_per_second)
        # Short epochs say nothing between their beginning and their end.
        self.step = max(self.step, self.epoch * self.steps_per_epoch)
        if self.epochs is not None:
            self.total_steps = self.total_steps or self.epochs * self.steps_per_epoch
            self.eta_seconds = data.get("seconds", 0.0) * (self.epochs - self.epoch)
        if data.get("isBest"):
            self.best_epoch = data["epoch"]


_PHASES = {
    "job.started": "preparing",
    "data.loaded": "preparing",
    "model.loaded": "preparing",
    "run.finalizing": "finalizing",
    "export.progress": "exporting",
    "export.completed": "finalizing",
    "job.pausing": "pausing",
    "job.paused": "paused",
    "job.resumed": "queued",
    "job.stopping": "stopping",
    "job.cancelling": "cancelling",
    "attempt.failed": "attempt failed",
    "job.completed": "done",
}


def _queued(data: Data) -> Notice | None:
    ahead = data["position"]
    return Notice("info", f"queued behind {count(ahead, 'job')}") if ahead else None


def _started(data: Data) -> Notice:
    return Notice("info", f"worker {data['pid']} started: {data['engine']} on {', '.join(data['devices'])}")


def _model(data: Data) -> Notice:
    # An estimator of scikit-learn has none before it is fitted.
    size = f": {count(data['parameters'], 'parameter')}" if data["parameters"] else ""
    trained = data["trainableParameters"]
    part = f", {trained:,} of them trained" if trained < data["parameters"] else ""
    weights = data.get("weights")
    origin = f"; {count(weights['matched'], 'tensor')} from {untrusted(weights['path'], 200)}" if weights else ""
    return Notice("info", f"model {untrusted(data['name'], 80)}{size}{part}{origin}")


def _data(data: Data) -> Notice:
    classes = data.get("classes")
    kinds = f", {count(len(classes), 'class', 'classes')}" if classes else ""
    samples = f"{data['trainSamples']:,} training and {data['valSamples']:,} validation samples"
    return Notice("info", f"data ({data['format']}, {data['task']}): {samples}{kinds}")


def _restored(data: Data) -> Notice:
    return Notice("info", f"goes on from {data['path']} (epoch {data['epoch']}, step {data['step']:,})")


def _alert(data: Data) -> Notice:
    remedy = f" {data['remedy']}" if data.get("remedy") else ""
    return Notice(data["level"], untrusted(f"{data['message']}{remedy}", 500))


def _tuned(data: Data) -> Notice:
    name, found = data["setting"].rsplit("/", 1)[-1], data.get("found")
    what = (
        f"{name} {data.get('used')}" if found == data.get("used") else f"{name}: {found} found, {data.get('used')} used"
    )
    return Notice("info", f"{what} ({duration(data['seconds'])}): {data['reason']}")


def _early_stop(data: Data) -> Notice:
    waited = f"{data['monitor']} has not improved for {count(data['patience'], 'epoch')}"
    return Notice("info", f"early stop after epoch {data['epoch']}: {waited} (best: epoch {data['bestEpoch']})")


def _exported(data: Data) -> Notice | None:
    """One that failed comes with an alert."""
    if data["status"] == "failed":
        return None
    return Notice("info", f"exported {data['format']} ({duration(data['seconds'])}): {data.get('path')}")


def _attempt_failed(data: Data) -> Notice:
    then = "a new attempt follows" if data["willRetry"] else "no further attempt"
    origin = f" from {data['fromCheckpoint']}" if data.get("fromCheckpoint") else ""
    what = f"{data['code']}: {untrusted(data['message'], 500)}" if data.get("message") else data["code"]
    return Notice("error", f"attempt failed: {what} ({then}{origin})")


def _pausing(_data: Data) -> Notice:
    return Notice("info", "pausing: the worker saves a checkpoint and frees its device")


def _paused(_data: Data) -> Notice:
    return Notice("info", "paused; it goes on when somebody says: pytorch-trainer resume ID")


def _resumed(_data: Data) -> Notice:
    return Notice("info", "resumed: it is in the queue again")


def _stopping(_data: Data) -> Notice:
    return Notice("info", "stopping: the worker saves a checkpoint; what it has trained is the result")


def _cancelling(_data: Data) -> Notice:
    return Notice("info", "cancelling: the worker saves a checkpoint and stops")


_NOTICES: dict[str, Callable[[Data], Notice | None]] = {
    "job.queued": _queued,
    "job.started": _started,
    "model.loaded": _model,
    "data.loaded": _data,
    "run.restored": _restored,
    "alert": _alert,
    "early_stop.triggered": _early_stop,
    "run.tuned": _tuned,
    "export.completed": _exported,
    "attempt.failed": _attempt_failed,
    "job.pausing": _pausing,
    "job.paused": _paused,
    "job.resumed": _resumed,
    "job.stopping": _stopping,
    "job.cancelling": _cancelling,
}


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 job``, ``2 jobs``, ``1,234 parameters``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:05:00``, ``2 d 4 h``."""
    whole = round(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def rate(samples_per_second: float) -> str:
    """``1,234 samples/s``, ``3.2 samples/s``."""
    places = 0 if samples_per_second >= 100 else 1
    return f"{samples_per_second:,.{places}f} samples/s"
