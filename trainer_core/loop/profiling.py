"""Torch's profiler over a few steps: a trace for a viewer, and a table for people."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from schemas.events import Alert
from schemas.profiling import Profiler
from schemas.result import Artifact
from trainer_core.channel import Channel
from trainer_core.checkpoints.artifacts import file_artifact, write_artifact
from trainer_core.loop.profile_table import rows_of, table_of

T = TypeVar("T")

TRACE_FILE = "trace.json.gz"
TABLE_FILE = "profile.txt"
# A trace beyond it is thrown away: no viewer opens it, and it fills the disk of others.
MOST_BYTES = 2**28


class Profiling:
    """Looks at no step, and costs none. The null form."""

    def __init__(self) -> None:
        self.artifacts: list[Artifact] = []

    def over(self, batches: Iterable[T]) -> Iterable[T]:
        """``batches``, with each step that is taken between two of them looked at."""
        return batches

    def close(self) -> None:
        """No more steps will come."""


class RecordedProfiling(Profiling):
    """Looks at the steps that ``wanted`` names, counted from the first that this process takes, whatever lies between two of
    them included. ``artifacts`` are there once it is closed. Whatever goes wrong in the profiler is said, and ends it alone."""

    def __init__(self, wanted: Profiler, device: torch.device, run_folder: Path, channel: Channel) -> None:
        super().__init__()
        self._wanted = wanted
        self._device = device
        self._folder = run_folder
        self._channel = channel
        self._profile: Any = None
        self._first = wanted.wait + wanted.warmup + 1
        self._steps = 0
        self._over = False

    def over(self, batches: Iterable[T]) -> Iterable[T]:
        return batches if self._over else self._watched(batches)

    def _watched(self, batches: Iterable[T]) -> Iterator[T]:
        for batch in batches:
            if self._profile is None and not self._over:
                self._try(self._start)
            yield batch
            if not self._over:
                self._try(self._step)

    def close(self) -> None:
        if self._over:
            return
        self._try(self._stop)
        if not self.artifacts and not self._over:
            first = self._wanted.steps - self._wanted.active + 1
            message = (
                f"The run ended after {self._steps} steps, before step {first}, the first that was to be profiled."
            )
            remedy = "Set trainingConfig.profiler.wait and warmup to 0, or train longer."
            self._channel.warn("profiler_too_late", message, remedy=remedy)
        self._over = True

    def _start(self) -> None:
        from torch.profiler import ProfilerActivity, profile, schedule

        wanted = self._wanted
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._device.type == "cuda" else [])],
            schedule=schedule(wait=wanted.wait, warmup=wanted.warmup, active=wanted.active, repeat=1),
            on_trace_ready=self._keep,
            record_shapes=wanted.record_shapes,
            profile_memory=wanted.profile_memory,
            with_stack=wanted.with_stack,
        )
        self._profile.start()

    def _step(self) -> None:
        self._steps += 1
        self._profile.step()
        if self._steps >= self._wanted.steps:
            self._stop()
            self._over = True

    def _stop(self) -> None:
        profile, self._profile = self._profile, None
        if profile is not None:
            profile.stop()

    def _keep(self, profile: Any) -> None:
        """Write trace and table of the steps that were looked at, and say where the time went. Of a step that has only begun
        when the run ends there is nothing to say."""
        if self._steps < self._first:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = rows_of(profile.key_averages(), self._device)
        self.artifacts.append(write_artifact(self._folder, TABLE_FILE, table_of(rows).encode()))
        too_large = self._write_trace(profile)
        total = sum(row.own for row in rows)
        where = ", ".join(f"{row.name} {row.own / total:.0%}" for row in rows[:3]) if total else "no operation was seen"
        message = (
            f"Steps {self._first} to {self._steps} of this process were profiled; most of the time: {where}.{too_large}"
        )
        names = [artifact.name for artifact in self.artifacts]
        self._channel.emit(Alert(code="profiled", level="info", message=message, evidence={"artifacts": names}))

    def _write_trace(self, profile: Any) -> str:
        """Write the trace, whole or not at all; a sentence where it was too large."""
        partial = self._folder / f".partial-{TRACE_FILE}"
        profile.export_chrome_trace(str(partial))
        size = partial.stat().st_size
        if size > MOST_BYTES:
            partial.unlink()
            return f" The trace had {size:,} bytes and was thrown away; profile fewer steps."
        os.replace(partial, self._folder / TRACE_FILE)
        self.artifacts.append(file_artifact(self._folder / TRACE_FILE))
        return ""

    def _try(self, work: Callable[[], None]) -> None:
        """Do ``work``. Torch's profiler talks to drivers and writes files: what it raises is of no consequence to training."""
        try:
            work()
        except Exception as error:
            self._profile, self._over = None, True
            message = f"The profiler failed, and the run goes on without it: {type(error).__name__}."
            text = str(error)[-1024:]
            self._channel.emit(
                Alert(code="profiler_failed", level="warning", message=message, evidence={"untrusted": text})
            )


def build_profiling(wanted: Profiler | None, device: torch.device, run_folder: Path, channel: Channel) -> Profiling:
    """Profiling as the request says: none when absent."""
    return Profiling() if wanted is None else RecordedProfiling(wanted, device, run_folder, channel)
