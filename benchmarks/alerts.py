"""How often the alerts are wrong, and how often they miss: healthy short trainings, and the same with a fault put in.

Every run is one of the native engine's own, on real data (scikit-learn's, and the text of Python's library) or made
ones. The thresholds in ``trainer_core/monitors`` were set by the runs called ``tuning``; those called ``held out`` have other
models, optimizers, schedules and seeds, and nothing was changed after them. ``python benchmarks/alerts.py`` prints the
tables and writes them into docs/monitoring.md (about four minutes on one core).
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from schemas.assignment import Assignment  # noqa: E402
from schemas.events import Alert, RecoveryMade  # noqa: E402
from trainer_core.channel import Channel  # noqa: E402
from trainer_core.failure import Failure  # noqa: E402
from trainer_core.loop.assemble import assemble  # noqa: E402
from trainer_core.loop.material import Surroundings, load, size_up  # noqa: E402
from trainer_core.loop.ranks import Ranks  # noqa: E402
from trainer_core.loop.trainer import Trainer  # noqa: E402
from trainer_core.monitors.watch import watch_network  # noqa: E402
from trainer_core.stop import Stop  # noqa: E402

PAGE = ROOT / "docs" / "monitoring.md"
BEGIN, END = "<!-- calibration: written by benchmarks/alerts.py -->", "<!-- end of calibration -->"
# Nobody puts a fault in against these: they look at the machine, and their rules are exact (see the tests).
UNTRIED = {"memory_nearly_full"}

MODELS = {
    "linear": "nn.Sequential(nn.Flatten(), nn.Linear({inputs}, {outputs}))",
    "MLP": "nn.Sequential(nn.Flatten(), nn.Linear({inputs}, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, {outputs}))",
    "MLP, dropout": "nn.Sequential(nn.Flatten(), nn.Linear({inputs}, 128), nn.GELU(), nn.Dropout(0.3), nn.Linear(128, {outputs}))",
    "wide MLP": "nn.Sequential(nn.Flatten(), nn.Linear({inputs}, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, {outputs}))",
    "MLP, batch norm": "nn.Sequential(nn.Flatten(), nn.Linear({inputs}, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Linear(64, {outputs}))",
    "dead ReLU": "Dead({inputs}, {outputs})",
    "CNN": "nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, {outputs}))",
    "CNN, batch norm": "nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, {outputs}))",
    "transformer": "Transformer({outputs})",
}

MODEL_FILE = """
import torch
from torch import nn


class Transformer(nn.Module):
    def __init__(self, characters):
        super().__init__()
        self.embedding = nn.Embedding(characters, 32)
        self.places = nn.Parameter(torch.randn(16, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, characters)

    def forward(self, x):
        return self.head(self.layers(self.embedding(x) + self.places)[:, -1])


class Dead(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.hidden, self.head = nn.Linear(inputs, 64), nn.Linear(64, outputs, bias=False)
        nn.init.constant_(self.hidden.bias, -1e4)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x.flatten(1))))


def build_model():
    return {model}
"""


@dataclass(frozen=True)
class Case:
    """One training: its data, model and settings. ``rows`` cuts the training data."""

    data: str
    model: str
    optimizer: str
    rate: float
    batch: int
    epochs: int
    scheduler: str = "cosine"
    more: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    rows: int | None = None

    @property
    def name(self) -> str:
        """What it is, in a line."""
        return f"{self.data}, {self.model}, {self.optimizer} {self.rate:g}, {self.scheduler}, batch {self.batch}"


@dataclass(frozen=True)
class Fault:
    """Something put into a training, and the alerts of which one at least is owed. ``also``: what may count in their place."""

    name: str
    owed: tuple[str, ...]
    inject: Callable[[Trainer], None] = lambda trainer: None
    change: Callable[[Case], Case] = lambda case: case
    also: tuple[type, ...] = ()


def tables() -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """(x, y, task) by name: standardised, and with classes as whole numbers."""
    digits, cancer, wine, diabetes = (
        getattr(datasets, f"load_{name}")() for name in ("digits", "breast_cancer", "wine", "diabetes")
    )
    generator = np.random.default_rng(5)
    images = (digits.images[:, None] / 16).astype(np.float32)
    wrong = np.where(
        generator.random(len(digits.target)) < 0.1, generator.integers(0, 10, len(digits.target)), digits.target
    )
    houses_x, houses_y = datasets.make_friedman1(3000, n_features=8, noise=1.0, random_state=0)
    noisy_x, noisy_y = datasets.make_friedman1(3000, n_features=8, noise=5.0, random_state=1)
    skewed_x, skewed_y = datasets.make_classification(
        3000, 20, n_informative=8, weights=[0.93], flip_y=0.03, random_state=2
    )
    characters, following = text()
    return {
        "digits": (images, digits.target, "classification"),
        "digits, a tenth mislabelled": (images, wrong, "classification"),
        "breast cancer": (scaled(cancer.data), cancer.target, "classification"),
        "wine": (scaled(wine.data), wine.target, "classification"),
        "diabetes": (scaled(diabetes.data), scaled(diabetes.target[:, None])[:, 0], "regression"),
        "Friedman": (scaled(houses_x), scaled(houses_y[:, None])[:, 0], "regression"),
        "Friedman, noisy": (scaled(noisy_x), scaled(noisy_y[:, None])[:, 0], "regression"),
        "skewed classes": (scaled(skewed_x), skewed_y, "classification"),
        "text": (characters, following, "classification"),
    }


def scaled(values: np.ndarray) -> np.ndarray:
    return np.asarray(StandardScaler().fit_transform(values), dtype=np.float32)


def text() -> tuple[np.ndarray, np.ndarray]:
    """Sixteen characters of a module of Python's library, and the one that follows."""
    page = Path(argparse.__file__).read_text()[:60_000].lower()
    _alphabet, codes = np.unique(np.array(list(page)), return_inverse=True)
    starts = np.arange(0, len(codes) - 17, 13)
    windows = np.stack([codes[start : start + 17] for start in starts]).astype(np.int64)
    return windows[:, :16], windows[:, 16]


TUNING = (
    Case("digits", "MLP", "AdamW", 1e-3, 32, 10),
    Case("digits", "CNN", "AdamW", 3e-3, 64, 8),
    Case("digits", "CNN", "SGD", 0.05, 32, 8, "OneCycleLR", {"optimizerArgs": {"momentum": 0.9}}),
    Case("digits, a tenth mislabelled", "MLP, dropout", "Adam", 1e-3, 16, 6),
    Case("breast cancer", "linear", "SGD", 0.01, 8, 12, "none"),
    Case("breast cancer", "MLP, dropout", "AdamW", 3e-4, 16, 10),
    Case("wine", "MLP", "Adam", 1e-3, 4, 12),
    Case("diabetes", "linear", "SGD", 0.003, 16, 12, "linear"),
    Case("Friedman", "MLP", "AdamW", 1e-3, 64, 20),
    Case("Friedman", "MLP", "RMSprop", 1e-3, 16, 6, "StepLR", {"schedulerArgs": {"step_size": 3}}),
    Case("Friedman, noisy", "MLP, dropout", "AdamW", 1e-3, 32, 8),
    Case("skewed classes", "MLP", "AdamW", 1e-3, 32, 6),
    Case("text", "transformer", "AdamW", 3e-3, 64, 5),
    Case("digits", "MLP, batch norm", "Adam", 2e-3, 16, 8, "linear"),
)

HELD_OUT = (
    Case("digits", "MLP, dropout", "AdamW", 3e-3, 16, 8, seed=201),
    Case("digits", "CNN, batch norm", "NAdam", 2e-3, 16, 8, "none", seed=202),
    Case("digits", "wide MLP", "Adagrad", 0.01, 128, 12, "polynomial", seed=203),
    Case("digits", "linear", "SGD", 0.1, 8, 6, "ExponentialLR", {"schedulerArgs": {"gamma": 0.8}}, seed=204),
    Case("digits, a tenth mislabelled", "CNN", "AdamW", 1e-3, 8, 3, seed=205),
    Case("breast cancer", "MLP", "RAdam", 1e-3, 4, 6, seed=206),
    Case("wine", "linear", "Adam", 0.01, 8, 20, "none", seed=207),
    Case("diabetes", "MLP, dropout", "AdamW", 1e-3, 8, 10, seed=208),
    Case("Friedman", "wide MLP", "AdamW", 3e-4, 128, 15, more={"loss": "huber"}, seed=209),
    Case(
        "Friedman",
        "MLP, batch norm",
        "SGD",
        0.01,
        4,
        5,
        "CosineAnnealingWarmRestarts",
        {"schedulerArgs": {"T_0": 2}},
        seed=210,
    ),
    Case("Friedman, noisy", "linear", "SGD", 0.001, 4, 6, "linear", seed=211),
    Case("skewed classes", "MLP, dropout", "AdamW", 1e-3, 8, 4, more={"loss": "focal"}, seed=212),
    Case("text", "transformer", "SGD", 0.1, 32, 4, "none", {"optimizerArgs": {"momentum": 0.9}}, seed=213),
    Case("text", "transformer", "AdamW", 1e-3, 16, 2, seed=214),
)


class Surge:
    """A schedule whose rate is ``factor`` times as high in the steps from ``start`` to ``stop``."""

    def __init__(self, schedule: Any, factor: float, start: int, stop: float) -> None:
        self._schedule, self._factor, self._start, self._stop = schedule, factor, start, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedule, name)

    def learning_rate(self, step: int, epoch: int) -> float:
        rate: float = self._schedule.learning_rate(step, epoch)
        return rate * self._factor if self._start <= step < self._stop else rate


class Spoilt:
    """Batches, each passed through ``spoil(batch, step, epoch)``."""

    def __init__(self, batches: Any, trainer: Trainer, spoil: Callable[[Any, int, int], Any]) -> None:
        self._batches, self._trainer, self._spoil = batches, trainer, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def of_epoch(self, epoch: int, start: int, stop: int) -> Iterator[Any]:
        for batch in self._batches.of_epoch(epoch, start, stop):
            yield self._spoil(batch, self._trainer.position.step, epoch)


def surge(factor: float, *, steps: float, late: float = 0.5) -> Callable[[Trainer], None]:
    def inject(trainer: Trainer) -> None:
        start = int(late * trainer.length.total_steps)
        trainer.schedule = Surge(trainer.schedule, factor, start, start + steps)  # type: ignore[assignment]

    return inject


def spoil(change: Callable[[Any, int, int, Trainer], Any]) -> Callable[[Trainer], None]:
    def inject(trainer: Trainer) -> None:
        trainer.batches = Spoilt(  # type: ignore[assignment]
            trainer.batches, trainer, lambda batch, step, epoch: change(batch, step, epoch, trainer)
        )

    return inject


def corrupt(batch: Any, step: int, epoch: int, trainer: Trainer) -> Any:
    """One batch, in the middle of the run, a hundred times as large as it was."""
    hit = step == trainer.length.total_steps // 2
    return batch._replace(inputs=batch.inputs * 100) if hit and batch.inputs.is_floating_point() else batch


def shuffle_labels(batch: Any, step: int, epoch: int, trainer: Trainer) -> Any:
    """Labels, from the middle of the run on, in another order than the samples."""
    late = epoch >= trainer.length.epochs // 2
    return batch._replace(targets=batch.targets[torch.randperm(len(batch.targets))]) if late else batch


def delay(batch: Any, step: int, epoch: int, trainer: Trainer) -> Any:
    """A loader that needs ten seconds for all batches together."""
    time.sleep(10 / trainer.length.total_steps)
    return batch


def changed(**settings: Any) -> Callable[[Case], Case]:
    from dataclasses import replace

    return lambda case: replace(case, **settings)


SPIKES = ("loss_spike", "gradient_spike")
FAULTS = (
    Fault("learning rate x1000 for one step", SPIKES, surge(1000, steps=1), also=(RecoveryMade,)),
    Fault("learning rate x1000 from a step on", SPIKES, surge(1000, steps=np.inf), also=(RecoveryMade, Failure)),
    Fault("one batch x100", SPIKES, spoil(corrupt), also=(RecoveryMade,)),
    Fault("labels shuffled from mid-run on", ("loss_spike", "overfitting"), spoil(shuffle_labels)),
    Fault("rate zero from the first step", ("dead_start",), surge(0, steps=np.inf, late=0)),
    Fault("dead activations", ("dead_start",), change=changed(model="dead ReLU")),
    Fault(
        "rate decays to nothing",
        ("learning_rate_exhausted",),
        change=changed(scheduler="ExponentialLR", more={"schedulerArgs": {"gamma": 0.1}}, epochs=10),
    ),
    Fault("slow loader", ("loader_bound",), spoil(delay), change=changed(epochs=8)),
    Fault(
        "40 training samples, a wide net",
        ("overfitting",),
        change=changed(
            model="wide MLP", rows=40, batch=8, epochs=40, optimizer="Adam", rate=1e-3, scheduler="none", more={}
        ),
    ),
    Fault(
        "rate zero from a tenth on",
        ("plateau", "learning_rate_exhausted"),
        surge(1e-6, steps=np.inf, late=0.1),
        change=changed(epochs=20),
    ),
)
# Bases for each fault, tuning and held out; the loss has to be worth spoiling, and text has no inputs to be scaled.
BASES = {
    "tuning": (TUNING[0], TUNING[13], TUNING[8]),
    "held out": (HELD_OUT[1], HELD_OUT[5], HELD_OUT[8]),
}


@dataclass(frozen=True)
class Ran:
    """What one training said: codes of its alerts, with messages, and whether it failed or helped itself."""

    alerts: list[Alert]
    others: tuple[type, ...]
    seconds: float
    steps: int

    @property
    def codes(self) -> set[str]:
        """Codes of the alerts that monitors say."""
        return {alert.code for alert in self.alerts} & set(CODES)


CODES = tuple(watch_network(Channel(), epochs=2, validates=True, workers=0).state()["monitors"])


def run(case: Case, data: dict[str, tuple[np.ndarray, np.ndarray, str]], fault: Fault, folder: Path) -> Ran:
    """Train ``case`` with ``fault`` in it."""
    case = fault.change(case)
    channel, began, others, steps = Channel(), time.perf_counter(), (), 0
    around = Surroundings(write(case, data, folder), torch.device("cpu"), Ranks(), channel, Stop())
    try:
        material = load(around)
        trainer = assemble(around, material, size_up(around, material))
        fault.inject(trainer)
        try:
            trainer.run()
        finally:
            trainer.close()
            steps = trainer.position.step
    except Failure:
        others = (Failure,)
    alerts = [said for said in channel.said if isinstance(said, Alert)]
    others += tuple({type(said) for said in channel.said if isinstance(said, RecoveryMade)})
    return Ran(alerts, others, time.perf_counter() - began, steps)


def write(case: Case, data: dict[str, tuple[np.ndarray, np.ndarray, str]], folder: Path) -> Assignment:
    """The case as an assignment, with its files in ``folder``."""
    x, y, task = data[case.data]
    stratum = y if task == "classification" and min(np.bincount(y)) > 1 else None
    train_x, val_x, train_y, val_y = train_test_split(x, y, test_size=0.25, random_state=case.seed, stratify=stratum)
    np.savez(folder / "train.npz", x=train_x[: case.rows], y=train_y[: case.rows])
    np.savez(folder / "val.npz", x=val_x, y=val_y)
    outputs = int(y.max()) + 1 if task == "classification" else 1
    model = MODELS[case.model].format(inputs=int(np.prod(x.shape[1:])), outputs=outputs)
    model = f"nn.Sequential({model}, nn.Flatten(0))" if task == "regression" else model
    (folder / "model.py").write_text(MODEL_FILE.replace("{model}", model))
    training = {
        "epochs": case.epochs,
        "learningRate": case.rate,
        "optimizer": case.optimizer,
        "scheduler": case.scheduler,
        "seed": case.seed,
        "task": task,
        **case.more,
    }
    request = {
        "modelPath": str(folder / "model.py"),
        "dataConfig": {
            "trainPath": str(folder / "train.npz"),
            "valPath": str(folder / "val.npz"),
            "batchSize": case.batch,
        },
        "trainingConfig": training,
        "checkpointConfig": {"saveEvery": 1000},
        "resources": {"threads": 1},
    }
    return Assignment.model_validate(
        {
            "jobId": "calibration",
            "attempt": 1,
            "request": json.loads(json.dumps(request)),
            "engine": "native",
            "workspace": str(folder),
            "modelSnapshot": str(folder / "model.py"),
            "modelSha256": "0" * 64,
            "jobFolder": str(folder),
            "attemptFolder": str(folder),
            "runFolder": tempfile.mkdtemp(dir=folder),
            "devices": ["cpu"],
        }
    )


def main(wanted: Sequence[str]) -> None:
    """Run everything (or the sets that are named, without writing), print it, and write the tables."""
    torch.set_num_threads(1)
    data, began = tables(), time.perf_counter()
    sets = [name for name in BASES if not wanted or name in wanted]
    healthy: dict[str, list[Ran]] = {}
    found: dict[str, dict[str, list[bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sets:
            cases = TUNING if name == "tuning" else HELD_OUT
            healthy[name] = [tell(name, case, Fault("healthy", ()), data, folder) for case in cases]
            for fault in FAULTS:
                ran = [tell(name, case, fault, data, folder) for case in BASES[name]]
                found.setdefault(fault.name, {})[name] = [
                    bool(each.codes & set(fault.owed)) or any(kind in each.others for kind in fault.also)
                    for each in ran
                ]
    page = report(sets, healthy, found, time.perf_counter() - began)
    print(page)
    if not wanted and PAGE.exists():
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{page}\n{END}{rest.partition(END)[2]}")


def tell(name: str, case: Case, fault: Fault, data: dict[str, Any], folder: str) -> Ran:
    """Run one and say what came of it."""
    ran = run(case, data, fault, Path(folder))
    shown = fault.change(case)
    print(
        f"{name:8} {fault.name:36} {shown.name:70} {ran.steps:5} steps {ran.seconds:5.1f} s  {sorted(ran.codes) or ''}",
        flush=True,
    )
    if not fault.owed or "-v" in sys.argv:
        for alert in ran.alerts:
            if alert.code in CODES:
                print("         ", alert.code, alert.message, alert.evidence.get("score", ""))
    return ran


def report(sets: Sequence[str], healthy: dict[str, list[Ran]], found: dict[str, Any], seconds: float) -> str:
    """The tables."""
    counts = " and ".join(f"{len(healthy[name])} ({name})" for name in sets)
    lines = [
        f"Measured on {platform.machine()}, {platform.system()}, one thread: Python {platform.python_version()}, "
        f"torch {torch.__version__}, scikit-learn {sklearn.__version__}; {seconds:.0f} s in all. "
        f"{counts} healthy runs, of {sum(ran.steps for name in sets for ran in healthy[name]):,} steps.",
        "",
        "| alert | " + " | ".join(f"false alarms, {name}" for name in sets) + " |",
        "|---|" + "---|" * len(sets),
    ]
    for code in CODES:
        cells = [f"{sum(code in ran.codes for ran in healthy[name])} of {len(healthy[name])}" for name in sets]
        lines.append(f"| `{code}` | {' | '.join(cells)} |")
    lines += [
        "",
        "| fault | owed | " + " | ".join(f"found, {name}" for name in sets) + " |",
        "|---|---|" + "---|" * len(sets),
    ]
    for fault in FAULTS:
        owed = " or ".join(f"`{code}`" for code in fault.owed)
        cells = [f"{sum(found[fault.name][name])} of {len(found[fault.name][name])}" for name in sets]
        lines.append(f"| {fault.name} | {owed} | {' | '.join(cells)} |")
    alarmed = [bool(ran.codes) for name in sets for ran in healthy[name]]
    seen = [result for name in sets for fault in FAULTS for result in found[fault.name][name]]
    lines += [
        "",
        f"In all: a false alarm in {sum(alarmed)} of {len(alarmed)} healthy runs; {sum(seen)} of {len(seen)} faults found.",
    ]
    untried = ", ".join(f"`{code}`" for code in sorted(UNTRIED))
    return "\n".join([*lines, "", f"No fault was put in for {untried}: its rule is exact, and tested.", ""])


if __name__ == "__main__":
    main([argument for argument in sys.argv[1:] if not argument.startswith("-")])
