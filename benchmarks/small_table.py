"""A small model over a table, trained by us and by two hand-written loops, each in a process of its own, in turn.

50,000 x 20 made numbers, an MLP 20-64-64-2, batch 64, AdamW, 3 epochs with validation, one thread. Ours runs with events,
checkpoints, clipping and the gate against non-finite gradients on. Prints one row per loop: ``python benchmarks/small_table.py``.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).parents[1]
ROUNDS, EPOCHS, BATCH, ROWS = 5, 3, 64, 50_000
LOOPS = ("DataLoader", "indexed, fused AdamW", "pytorch-trainer")
MODEL = """
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
"""


def write(folder: Path) -> None:
    """The model file and the data."""
    (folder / "mlp.py").write_text(MODEL)
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(20, 2))
    for name, rows in (("train", ROWS), ("val", ROWS // 5)):
        x = generator.normal(size=(rows, 20)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=(x @ weights + np.sin(3 * x[:, :2])).argmax(axis=1))


def by_hand(folder: Path, indexed: bool) -> tuple[float, float]:
    """(seconds, validation accuracy) of a plain loop: through a DataLoader, or indexing memory with a fused optimizer."""
    sys.path.insert(0, str(folder))
    from mlp import build_model

    torch.manual_seed(0)
    train, held_out = (
        TensorDataset(*(torch.from_numpy(array) for array in np.load(folder / f"{name}.npz").values()))
        for name in ("train", "val")
    )
    model = build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=indexed or None)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        order = torch.randperm(ROWS).split(BATCH) if indexed else ()
        for x, y in (train[i] for i in order) if indexed else DataLoader(train, BATCH, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            parts = (
                DataLoader(held_out, BATCH) if not indexed else [held_out[i : i + 1024] for i in range(0, 10_000, 1024)]
            )
            hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in parts)
    return time.perf_counter() - began, hits / len(held_out)


def by_us(folder: Path) -> tuple[float, float]:
    """(seconds, validation accuracy) of the native engine, as a worker calls it."""
    from schemas.assignment import Assignment
    from schemas.events import EpochCompleted, RunFinalizing
    from trainer_core.channel import FileChannel
    from trainer_core.engines.native import train
    from trainer_core.stop import Stop

    said: list[Any] = []

    class Listening(FileChannel):
        def emit(self, data: Any) -> None:
            said.append(data)
            super().emit(data)

    place = tempfile.mkdtemp(dir=folder)
    request = {
        "modelPath": str(folder / "mlp.py"),
        "dataConfig": {
            "trainPath": str(folder / "train.npz"),
            "valPath": str(folder / "val.npz"),
            "batchSize": BATCH,
            "evalBatchSize": 1024,
        },
        "trainingConfig": {"epochs": EPOCHS, "learningRate": 1e-3, "scheduler": "none"},
        "resources": {"threads": 1},
    }
    document = {
        "jobId": "job_benchmark",
        "attempt": 1,
        "engine": "native",
        "devices": ["cpu"],
        "request": request,
        "modelSha256": "",
        "workspace": str(folder),
        "modelSnapshot": str(folder / "mlp.py"),
        "jobFolder": place,
        "attemptFolder": place,
        "runFolder": f"{place}/run",
    }
    train(Assignment.model_validate(document), Listening(Path(place) / "events.jsonl"), Stop())
    (end,) = [data for data in said if isinstance(data, RunFinalizing)]
    row = [data for data in said if isinstance(data, EpochCompleted)][-1]
    return end.seconds, row.val_accuracy or 0.0


def main() -> None:
    """Run the loops in turn and print the table; or, with a loop's name and a folder, run that one."""
    torch.set_num_threads(1)
    if len(sys.argv) == 3:
        loop, folder = sys.argv[1], Path(sys.argv[2])
        print(json.dumps(by_us(folder) if loop == LOOPS[2] else by_hand(folder, indexed=loop == LOOPS[1])))
        return
    speeds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    accuracies = {}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        for _ in range(ROUNDS):
            for loop in LOOPS:
                done = subprocess.run(
                    [sys.executable, __file__, loop, name],
                    cwd=ROOT,
                    env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                seconds, accuracies[loop] = json.loads(done.stdout.splitlines()[-1])
                speeds[loop].append(EPOCHS * ROWS / seconds)
    first = median(speeds[LOOPS[0]])
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}; {ROUNDS} rounds\n")
    print("| loop | samples/s, median (min, max) | x DataLoader | accuracy |\n|---|---|---|---|")
    for loop, found in speeds.items():
        middle = median(found)
        print(
            f"| {loop} | {middle:,.0f} ({min(found):,.0f}, {max(found):,.0f}) | {middle / first:.2f} | {accuracies[loop]:.3f} |"
        )


if __name__ == "__main__":
    main()
