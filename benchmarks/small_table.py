"""A small model over a table, trained by us, by two hand-written loops and by peers, each in a process of its own, in turn.

50,000 x 20 made numbers, an MLP 20-64-64-2, batch 64, AdamW, 3 epochs with validation, one thread. Ours runs with events,
monitors, checkpoints, clipping, recovery and the gate against non-finite gradients on. ``make bench`` prints one row per loop
and writes them into docs/performance.md; the row of a peer that is not installed stays empty (``make peers``).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.report import ROOT, machine, put, train_with_us

ROUNDS, EPOCHS, BATCH, ROWS = 5, 3, 64, 50_000
BY_HAND = ("hand-written, DataLoader", "hand-written, indexed memory, fused AdamW")
INDEXED, OURS = BY_HAND[1], "pytorch-trainer"
PEERS = ("accelerate", "transformers", "pytorch-lightning")
# With what ours has on, as far as they have it: clipping, a log, a bar, checkpoints.
FOLLOWED = ", followed and kept"
LOOPS = (*BY_HAND, OURS, *PEERS, *(peer + FOLLOWED for peer in PEERS))
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


def material(folder: Path) -> tuple[nn.Module, TensorDataset, TensorDataset]:
    """The model with the weights of seed 0, and both data sets in memory."""
    sys.path.insert(0, str(folder))
    from mlp import build_model

    torch.manual_seed(0)
    train, held_out = (
        TensorDataset(*(torch.from_numpy(array) for array in np.load(folder / f"{name}.npz").values()))
        for name in ("train", "val")
    )
    return build_model(), train, held_out


def by_hand(folder: Path, indexed: bool) -> tuple[float, float]:
    """(seconds, validation accuracy) of a plain loop: through a DataLoader, or indexing memory with a fused optimizer."""
    model, train, held_out = material(folder)
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
    return train_with_us(folder, request)


def by_peer(name: str, folder: Path) -> tuple[float, float]:
    """(seconds, validation accuracy) of another's training loop."""
    from benchmarks import peers

    peer, followed, _ = name.partition(FOLLOWED)
    return peers.PEERS[peer](*material(folder), bare=not followed)


def run(loop: str, folder: Path) -> tuple[float, float]:
    """(seconds, validation accuracy) of one of ``LOOPS``, in this process."""
    torch.set_num_threads(1)
    if loop == OURS:
        return by_us(folder)
    return by_hand(folder, loop == INDEXED) if loop in BY_HAND else by_peer(loop, folder)


def installed(loop: str) -> bool:
    """Whether ``loop`` can be run here."""
    return loop in (*BY_HAND, OURS) or bool(list(metadata.distributions(name=loop.removesuffix(FOLLOWED))))


def measure(loops: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """(samples per second, accuracy) of each loop in each round; the rounds take the loops in turn."""
    found: dict[str, list[tuple[float, float]]] = {loop: [] for loop in loops}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        for number in range(ROUNDS):
            for loop in loops:
                command = [sys.executable, "-m", "benchmarks.small_table", loop, name]
                done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
                seconds, accuracy = json.loads(done.stdout.splitlines()[-1])
                found[loop].append((EPOCHS * ROWS / seconds, accuracy))
                print(f"round {number + 1}: {loop} {found[loop][-1][0]:,.0f} samples/s", file=sys.stderr)
    return found


def table(found: dict[str, list[tuple[float, float]]]) -> str:
    """The report, with machine and versions. A ratio is the median over the rounds of two neighbours in one round."""
    peers = [peer for peer in PEERS if peer in found]
    versions = [f"{loop} {metadata.version(loop)}" for loop in peers]
    lines = [
        machine(ROUNDS, *versions),
        "",
        "| loop | samples/s, median (min, max) | × DataLoader | ours is faster by | accuracy |",
        "|---|---|---|---|---|",
    ]
    for loop in LOOPS:
        if loop not in found:
            lines.append(f"| {loop} | | | | |")
            continue
        speeds = [speed for speed, _ in found[loop]]
        over, under = (
            median(one / other for one, other in zip(*pair, strict=True))
            for pair in ((speeds, [s for s, _ in found[LOOPS[0]]]), ([s for s, _ in found[OURS]], speeds))
        )
        lines.append(
            f"| {loop} | {median(speeds):,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f}) | {over:.2f} | "
            f"{under:.2f} | {found[loop][-1][1]:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the loops in turn, print the table and put it into docs/performance.md; or, with a loop's name and a folder, run
    that one."""
    if len(sys.argv) == 3:
        print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
        return
    report = table(measure([loop for loop in LOOPS if installed(loop)]))
    print(report)
    put(report, "benchmarks/small_table.py")


if __name__ == "__main__":
    main()
