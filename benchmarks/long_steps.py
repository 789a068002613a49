"""What the loop adds to steps of some milliseconds: a text classifier and a small residual network, by us and by hand.

The models are those of ``examples/text`` and ``examples/digits``; the texts are 6,400 made sequences of 50 tokens, the
images scikit-learn's 1,797 handwritten digits. Batch 64, AdamW, one thread. The loop by hand indexes
memory and calls a fused optimizer; it neither clips nor looks for NaN, nor reports, nor saves. Each loop runs in a process of its
own, in turn. ``python -m benchmarks.long_steps`` writes the table into docs/performance.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from benchmarks.report import ROOT, machine, put, train_with_us

ROUNDS, BATCH = 7, 64
LOOPS = ("by hand", "pytorch-trainer")


@dataclass(frozen=True)
class Work:
    """A training: model file, epochs, and what of the data is held out."""

    model: Path
    epochs: int

    def read(self, folder: Path) -> tuple[nn.Module, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """The model with the weights of seed 0, and both sides of the data."""
        sys.path.insert(0, str(self.model.parent))
        module = __import__(self.model.stem)
        torch.manual_seed(0)
        model = module.build_model() if hasattr(module, "build_model") else module.TextClassifier()
        sides = {name: np.load(folder / f"{name}.npz") for name in ("train", "val")}
        return model, {name: (torch.from_numpy(side["x"]), torch.from_numpy(side["y"])) for name, side in sides.items()}


WORKS = {
    "text classifier": Work(ROOT / "examples" / "text" / "models" / "classifier.py", 2),
    "residual network": Work(ROOT / "examples" / "digits" / "models" / "resnet.py", 6),
}


def write(name: str, folder: Path) -> None:
    """The data of one of ``WORKS``."""
    if name == "text classifier":
        generator = np.random.default_rng(0)
        x, y = generator.integers(1, 5000, (8000, 50)), generator.integers(0, 2, 8000)
        # Something to learn: a tenth of the tokens of class 1 are from a hundredth of the vocabulary.
        marked = (generator.random((8000, 50)) < 0.1) & (y == 1)[:, None]
        x[marked] = generator.integers(1, 50, int(marked.sum()))
    else:
        digits = load_digits()
        x, y = (digits.images[:, None] / 16).astype(np.float32), digits.target
        order = np.random.default_rng(0).permutation(len(y))
        x, y = x[order], y[order]
    cut = len(y) * 4 // 5
    np.savez(folder / "train.npz", x=x[:cut], y=y[:cut])
    np.savez(folder / "val.npz", x=x[cut:], y=y[cut:])


def by_hand(work: Work, folder: Path) -> tuple[float, float]:
    """(seconds, validation accuracy) of the best plain loop."""
    model, sides = work.read(folder)
    x, y = sides["train"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    began = time.perf_counter()
    accuracy = 0.0
    for _ in range(work.epochs):
        model.train()
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            parts = zip(*(side.split(2 * BATCH) for side in sides["val"]), strict=True)
            hits = sum(int((model(part).argmax(1) == wanted).sum()) for part, wanted in parts)
        accuracy = hits / len(sides["val"][0])
    return time.perf_counter() - began, accuracy


def by_us(work: Work, folder: Path) -> tuple[float, float]:
    """(seconds, validation accuracy) of the native engine."""
    request = {
        "modelPath": str(work.model),
        "dataConfig": {
            "trainPath": str(folder / "train.npz"),
            "valPath": str(folder / "val.npz"),
            "batchSize": BATCH,
            "evalBatchSize": 2 * BATCH,
        },
        "trainingConfig": {"epochs": work.epochs, "learningRate": 1e-3, "scheduler": "none"},
        "resources": {"threads": 1},
    }
    return train_with_us(folder, request)


def run(name: str, loop: str, folder: Path) -> tuple[float, float]:
    """(milliseconds a step, validation accuracy) of one loop, in this process."""
    torch.set_num_threads(1)
    work = WORKS[name]
    seconds, accuracy = (by_hand if loop == LOOPS[0] else by_us)(work, folder)
    steps = work.epochs * -(-len(np.load(folder / "train.npz")["y"]) // BATCH)
    return 1000 * seconds / steps, accuracy


def measure(name: str) -> dict[str, list[tuple[float, float]]]:
    """(milliseconds a step, accuracy) of each loop in each round."""
    found: dict[str, list[tuple[float, float]]] = {loop: [] for loop in LOOPS}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        write(name, Path(folder))
        for number in range(ROUNDS):
            # The first of a pair is now one, now the other: a machine that slows down favours neither.
            for loop in LOOPS if number % 2 else LOOPS[::-1]:
                command = [sys.executable, "-m", "benchmarks.long_steps", name, loop, folder]
                done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
                found[loop].append(tuple(json.loads(done.stdout.splitlines()[-1])))
                print(f"{name}, round {number + 1}: {loop} {found[loop][-1][0]:.2f} ms", file=sys.stderr)
    return found


def table(found: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """The report. The overhead is the median over the rounds of the two neighbours' ratio; evaluation and checkpoints are in it."""
    lines = [
        machine(ROUNDS),
        "",
        "| model | by hand, ms a step (min, max) | pytorch-trainer, ms a step (min, max) | overhead | accuracy by hand, ours |",
        "|---|---|---|---|---|",
    ]
    for name, loops in found.items():
        hand, ours = ([step for step, _ in loops[loop]] for loop in LOOPS)
        overhead = median(own / bare for own, bare in zip(ours, hand, strict=True)) - 1
        steps = " | ".join(f"{median(each):.2f} ({min(each):.2f}, {max(each):.2f})" for each in (hand, ours))
        accuracies = ", ".join(f"{loops[loop][-1][1]:.3f}" for loop in LOOPS)
        lines.append(f"| {name} | {steps} | {overhead:+.1%} | {accuracies} |")
    return "\n".join(lines)


def main() -> None:
    """Run the loops in turn and write the table; or, with a work's name, a loop's and a folder, run that one."""
    if len(sys.argv) == 4:
        print(json.dumps(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
        return
    report = table({name: measure(name) for name in WORKS})
    print(report)
    put(report, "benchmarks/long_steps.py")


if __name__ == "__main__":
    main()
