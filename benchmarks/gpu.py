"""A transformer of GPT-2's size and a ResNet-50 in bf16 on one GPU: by us, by hand and by peers, in samples a second and as a
share of what the chip's matrix units were measured to do.

Made tokens and images. By hand: data on the device, fused AdamW, autocast; once as it is, once compiled, once compiled into
CUDA graphs, with the seconds that compiling took and after how many steps they are paid back. ``make bench-gpu`` writes the table into
docs/performance.md; ``--small`` runs all of it with tiny models on any device, to see that it works, and writes nothing.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import ROOT, machine, put, train_with_us

ROUNDS, WARM = 3, 10
MODELS = ROOT / "benchmarks" / "models"
BY_HAND: dict[str, str | None] = {
    "by hand": None,
    "by hand, compiled": "default",
    "by hand, CUDA graphs": "reduce-overhead",
}
BY_US = {"pytorch-trainer": "off", "pytorch-trainer, compiled": "on"}
PEERS = {"pytorch-lightning": "pytorch-lightning", "transformers": "transformers"}
LOOPS = (*BY_HAND, *BY_US, *PEERS)


@dataclass(frozen=True)
class Work:
    """A training of ``steps`` steps."""

    model: str
    batch: int
    steps: int
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[int, int, int]:
        """Steps of the trainings that are timed: the first pays for what a process does once, the others tell what a step takes."""
        return WARM, WARM, WARM + self.steps

    def build(self) -> nn.Module:
        """The model with the weights of seed 0."""
        torch.manual_seed(0)
        model: nn.Module = importlib.import_module(f"benchmarks.models.{self.model}").build_model(**self.arguments)
        return model

    def data(self) -> tuple[Tensor, Tensor]:
        """Made samples, one batch four times over an epoch."""
        generator = torch.Generator().manual_seed(0)
        count = 4 * self.batch
        if self.model == "gpt2":
            high, length = self.arguments.get("vocabulary", 50304), self.arguments.get("length", 1024)
            tokens = torch.randint(high, (count, length + 1), generator=generator)
            return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        side, classes = (32, 10) if self.arguments else (224, 1000)
        return torch.randn(count, 3, side, side, generator=generator), torch.arange(count) % classes


WORKS = {"GPT-2 small, 1,024 tokens": Work("gpt2", 16, 100), "ResNet-50, 224 x 224": Work("resnet50", 128, 100)}
SMALL = {
    "tiny transformer": Work("gpt2", 4, 8, {"vocabulary": 96, "length": 16, "layers": 2, "heads": 2, "width": 32}),
    "tiny residual network": Work("resnet50", 8, 8, {"num_classes": 10, "depths": (1, 1), "width": 8}),
}


def loss_of(output: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy over all targets."""
    return functional.cross_entropy(output.flatten(0, -2).float(), targets.flatten())


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def by_hand(work: Work, device: str, mode: str | None) -> dict[str, float]:
    """A plain loop."""
    model, (x, y) = work.build().to(device), (part.to(device) for part in work.data())
    if x.is_floating_point() and device == "cuda":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    network: Callable[[Tensor], Tensor] = model if mode is None else torch.compile(model, mode=mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(number: int) -> None:
        begin = number % 4 * work.batch
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(network(x[begin : begin + work.batch]), y[begin : begin + work.batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    began = time.perf_counter()
    for number in range(WARM):
        step(number)
    wait(device)
    warmed = time.perf_counter()
    for number in range(work.steps):
        step(number)
    wait(device)
    seconds = (time.perf_counter() - warmed) / work.steps
    return {"seconds": seconds, "begin": warmed - began - WARM * seconds}


def by_us(work: Work, device: str, compiled: str, folder: Path) -> dict[str, float]:
    """The native engine, whole trainings."""
    x, y = work.data()
    np.savez(folder / "train.npz", x=x.numpy(), y=y.numpy())
    spent = []
    for steps in work.runs:
        training = {
            "epochs": -(-steps // 4),
            "maxSteps": steps,
            "task": "classification",
            "learningRate": 1e-4,
            "scheduler": "none",
            "precision": "bf16",
            "compile": compiled,
            "limitValBatches": 1,
        }
        request = {
            "modelPath": str(MODELS / f"{work.model}.py"),
            "modelConfig": {"args": work.arguments},
            "dataConfig": {"trainPath": str(folder / "train.npz"), "batchSize": work.batch, "valSplit": 0.01},
            "trainingConfig": training,
            "checkpointConfig": {"saveEvery": steps},
        }
        began = time.perf_counter()
        train_with_us(folder, request, f"{device}:0" if device == "cuda" else device)
        spent.append(time.perf_counter() - began)
    return figures(spent, work)


def figures(spent: list[float], work: Work) -> dict[str, float]:
    """What ``Work.runs`` took, as seconds a step and those before the steps ran as fast as that."""
    first, short, long = spent
    seconds = (long - short) / work.steps
    return {"seconds": seconds, "begin": first - WARM * seconds}


def by_peer(name: str, work: Work, device: str) -> dict[str, float]:
    """Another's training loop, whole trainings."""
    from benchmarks.gpu_peers import PEER_LOOPS

    model, (x, y) = work.build(), work.data()
    spent = [PEER_LOOPS[name](model, x, y, work.batch, steps, device, loss_of) for steps in work.runs]
    return figures(spent, work)


def run(loop: str, work: Work, device: str) -> dict[str, float]:
    """Seconds a step, and those before the steps ran as fast as that."""
    if loop in BY_HAND:
        return by_hand(work, device, BY_HAND[loop])
    if loop in BY_US:
        with tempfile.TemporaryDirectory() as folder:
            return by_us(work, device, BY_US[loop], Path(folder))
    return by_peer(loop, work, device)


def operations(work: Work) -> int:
    """Floating-point operations of the matrix units in a step, forward and backward, as torch counts them."""
    model, (x, y) = work.build().to("meta"), (part[: work.batch].to("meta") for part in work.data())
    with FlopCounterMode(display=False) as counter:
        loss_of(model(x), y).backward()
    return counter.get_total_flops()


def matrix_peak(device: str) -> float:
    """Operations a second of a large bf16 matrix product, the best of several."""
    size = 8192 if device == "cuda" else 512
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(10):
        wait(device)
        began = time.perf_counter()
        left @ right
        wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def installed(loop: str) -> bool:
    """Whether ``loop`` can be run here."""
    return loop not in PEERS or bool(list(metadata.distributions(name=PEERS[loop])))


def measure(works: dict[str, Work], device: str, small: bool) -> dict[tuple[str, str], list[dict[str, float]]]:
    """What each loop took in each round; each in a process of its own, in turn."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(1 if small else ROUNDS):
        for name in works:
            for loop in filter(installed, LOOPS):
                command = [sys.executable, "-m", "benchmarks.gpu", "--loop", loop, "--work", name]
                command += ["--small"] * small
                done = subprocess.run(
                    command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
                )
                if done.returncode:
                    print(f"{name}: {loop} failed: {done.stderr[-2000:]}", file=sys.stderr)
                    continue
                found.setdefault((name, loop), []).append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{name}: {loop} {found[name, loop][-1]}", file=sys.stderr)
    return found


def table(works: dict[str, Work], found: dict[tuple[str, str], list[dict[str, float]]], device: str) -> str:
    """The report; a loop that did not run has an empty row."""
    peak = matrix_peak(device)
    chip = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    lines = [
        machine(ROUNDS, chip),
        f"A product of two large bf16 matrices reaches {peak / 1e12:,.0f} Tflop/s here.",
        "",
        "| model | loop | samples/s | of the peak | × by hand | seconds before the first fast step | paid back after steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, work in works.items():
        needed = operations(work)
        plain = found.get((name, "by hand"))
        bare = median(each["seconds"] for each in plain) if plain else None
        for loop in LOOPS:
            rounds = found.get((name, loop))
            if rounds is None or bare is None:
                lines.append(f"| {name} | {loop} | | | | | |")
                continue
            seconds, begin = (median(each[key] for each in rounds) for key in ("seconds", "begin"))
            gain = bare - seconds
            paid = f"{max(0.0, begin) / gain:,.0f}" if "by hand" not in (loop,) and gain > 0 else ""
            lines.append(
                f"| {name} | {loop} | {work.batch / seconds:,.1f} | {needed / seconds / peak:.0%} | {bare / seconds:.2f} | "
                f"{max(0.0, begin):.1f} | {paid} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run all loops in turn and write the table; with ``--loop`` and ``--work``, run one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--loop", choices=LOOPS)
    parser.add_argument("--work")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    works = SMALL if given.small else WORKS
    if given.loop:
        print(json.dumps(run(given.loop, works[given.work], device)))
        return
    if device == "cpu" and not given.small:
        sys.exit(
            "There is no GPU here: nothing is measured and nothing written. --small shows that the benchmark works."
        )
    report = table(works, measure(works, device, given.small), device)
    print(report)
    if not given.small:
        put(report, "benchmarks/gpu.py")


if __name__ == "__main__":
    main()
