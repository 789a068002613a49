"""What the loop adds to steps of some milliseconds: a text classifier and a small residual network, by us and by hand.

The models are those of ``examples/text`` and ``examples/digits``; the texts are 6,400 made sequences of 50 tokens, the
images scikit-learn's 1,797 handwritten digits. Batch 64, AdamW, one thread. The loop by hand indexes
memory and calls a fused optimizer; it neither looks for NaN nor reports. It is there four times: as a program that is just
started, with glibc's malloc set to keep what is freed, as ours does, with a checkpoint an epoch beside that, and with its gradients
clipped as well: all that ours is asked to do. All train in turn, half an epoch at a time (``benchmarks.turns``). ``python -m benchmarks.long_steps`` writes the table into docs/performance.md.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from benchmarks.report import ROOT, machine, put, train_with_us
from benchmarks.turns import Loop, Paced, in_turn

ROUNDS, BATCH = 5, 64
# A number of bytes that is large enough is as good as none.
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
SAVING = "by hand, freed memory kept, saving"
CLIPPING = "by hand, freed memory kept, saving, clipping"
# Loops, and what is in their environments.
LOOPS: dict[str, dict[str, str]] = {
    "by hand": {},
    "by hand, freed memory kept": KEPT,
    SAVING: KEPT,
    CLIPPING: KEPT,
    "pytorch-trainer": {},
}
OURS = "pytorch-trainer"


@dataclass(frozen=True)
class Work:
    """A training: model file, epochs, and steps of an epoch."""

    model: Path
    epochs: int
    steps: int

    def build(self) -> nn.Module:
        """The model, which trains in turn: a turn ends in the middle of each half of an epoch."""
        sys.path.insert(0, str(self.model.parent))
        module = __import__(self.model.stem)
        model: nn.Module = module.build_model() if hasattr(module, "build_model") else module.TextClassifier()
        model.register_forward_pre_hook(Paced(self.steps // 2, first=self.steps // 4))
        return model


WORKS = {
    "text classifier": Work(ROOT / "examples" / "text" / "models" / "classifier.py", 4, 100),
    "residual network": Work(ROOT / "examples" / "digits" / "models" / "resnet.py", 21, 22),
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
    cut = WORKS[name].steps * BATCH
    np.savez(folder / "train.npz", x=x[:cut], y=y[:cut])
    np.savez(folder / "val.npz", x=x[cut:], y=y[cut:])


def read(folder: Path, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of ``train`` or ``val``."""
    arrays = np.load(folder / f"{side}.npz")
    return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def by_hand(name: str, folder: Path, saves: bool, clips: bool) -> float:
    """Validation accuracy of the best plain loop; whether it saves what a resume takes, after each epoch, and whether it clips."""
    torch.manual_seed(0)
    model, (x, y), held_out = WORKS[name].build(), read(folder, "train"), read(folder, "val")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    accuracy = 0.0
    for _ in range(WORKS[name].epochs):
        model.train()
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[index]), y[index]).backward()
            if clips:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            parts = zip(*(side.split(2 * BATCH) for side in held_out), strict=True)
            hits = sum(int((model(part).argmax(1) == wanted).sum()) for part, wanted in parts)
        accuracy = hits / len(held_out[1])
        if saves:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "by_hand.pt")
    return accuracy


def by_us(name: str, folder: Path) -> float:
    """Validation accuracy of the native engine."""
    model = folder / "paced.py"
    model.write_text(
        f"from benchmarks.long_steps import WORKS\n\n\ndef build_model():\n    return WORKS[{name!r}].build()\n"
    )
    request = {
        "modelPath": str(model),
        "dataConfig": {
            "trainPath": str(folder / "train.npz"),
            "valPath": str(folder / "val.npz"),
            "batchSize": BATCH,
            "evalBatchSize": 2 * BATCH,
        },
        "trainingConfig": {"epochs": WORKS[name].epochs, "learningRate": 1e-3, "scheduler": "none"},
        "resources": {"threads": 1},
    }
    _, accuracy = train_with_us(folder, request)
    return accuracy


def measure(name: str) -> dict[str, list[tuple[float, float]]]:
    """(milliseconds a step, validation accuracy) of each loop in each round."""
    found: dict[str, list[tuple[float, float]]] = {loop: [] for loop in LOOPS}
    with tempfile.TemporaryDirectory() as folder:
        write(name, Path(folder))
        # Beside the first of two halves and what is before it, whole epochs.
        turns = 2 * (WORKS[name].epochs - 2)
        for number in range(ROUNDS):
            command = ["-m", "benchmarks.long_steps", name]
            loops = [
                Loop([*command, loop, folder], {"OMP_NUM_THREADS": "1", **setting}) for loop, setting in LOOPS.items()
            ]
            seconds = in_turn(loops, turns)
            for loop, own, accuracy in zip(LOOPS, seconds, [loop.end() for loop in loops], strict=True):
                found[loop].append((1000 * own / (turns * (WORKS[name].steps // 2)), accuracy))
            steps = ", ".join(f"{loop} {found[loop][-1][0]:.2f} ms" for loop in LOOPS)
            print(f"{name}, round {number + 1}: {steps}", file=sys.stderr)
    return found


def table(found: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """The report. An overhead is the median over the rounds; evaluation and checkpoints are in it."""
    lines = [
        machine(ROUNDS),
        "",
        "| model | loop | ms a step, median (min, max) | ours takes more by, median (min, max) | accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, loops in found.items():
        ours = [step for step, _ in loops[OURS]]
        for loop, rounds in loops.items():
            steps = [step for step, _ in rounds]
            more = [own / other - 1 for own, other in zip(ours, steps, strict=True)]
            overhead = "" if loop == OURS else f"{median(more):+.1%} ({min(more):+.1%}, {max(more):+.1%})"
            step = f"{median(steps):.2f} ({min(steps):.2f}, {max(steps):.2f})"
            lines.append(f"| {name} | {loop} | {step} | {overhead} | {median(each for _, each in rounds):.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the loops in turn and write the table; or, with a work's name, a loop's and a folder, run that one."""
    if len(sys.argv) == 4:
        name, loop, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
        torch.set_num_threads(1)
        hand = {"saves": loop in (SAVING, CLIPPING), "clips": loop == CLIPPING}
        print(json.dumps(by_us(name, folder) if loop == OURS else by_hand(name, folder, **hand)))
        return
    report = table({name: measure(name) for name in WORKS})
    print(report)
    put(report, "benchmarks/long_steps.py")


if __name__ == "__main__":
    main()
