"""Loops that train in turn, each in a process of its own: one stands still while another goes on.

Programs that run one after the other on a shared machine meet different machines: their seconds lay 10 to 17 % apart. Taking turns of
half a second they meet the same one. A turn is a number of training passes, counted and timed in a hook before them, in the same
way whichever loop calls the model; a turn ends where it began, so what a loop does between two epochs is in its turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from benchmarks.report import ROOT

_PIPES = "BENCHMARK_TURNS"


class Paced:
    """The hook: before each ``steps``-th pass from the ``first`` one on it tells the seconds of the turn, and waits for the next."""

    def __init__(self, steps: int, first: int) -> None:
        self._told, self._permitted = map(int, os.environ[_PIPES].split())
        self._steps, self._left, self._began = steps, first, time.perf_counter()

    def __call__(self, module: nn.Module, _inputs: Any) -> None:
        """A training pass is about to begin; those of an evaluation are in the turn, and not counted."""
        if not module.training:
            return
        if self._left == 0:
            os.write(self._told, f"{time.perf_counter() - self._began}\n".encode())
            os.read(self._permitted, 1)
            self._left, self._began = self._steps, time.perf_counter()
        self._left -= 1


class Loop:
    """A program whose model is ``Paced``, started; it waits for its first turn."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        told, tells = os.pipe()
        permitted, permits = os.pipe()
        self._permits, self._told = permits, os.fdopen(told)
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment, _PIPES: f"{tells} {permitted}"},
            pass_fds=(tells, permitted),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        os.close(tells)
        os.close(permitted)
        self._told.readline()

    def turn(self) -> float:
        """Its next turn: seconds."""
        os.write(self._permits, b".")
        return float(self._told.readline())

    def end(self) -> Any:
        """Let it go on to its end: what it printed last, as JSON."""
        os.close(self._permits)
        out, _ = self._process.communicate()
        self._told.close()
        return json.loads(out.splitlines()[-1])


def in_turn(loops: Sequence[Loop], turns: int) -> list[float]:
    """Seconds of each loop over ``turns`` turns, beside one before them that is not counted. Now the first begins, now the last."""
    for loop in loops:
        loop.turn()
    seconds = [0.0] * len(loops)
    for number in range(turns):
        order = range(len(loops))
        for place in order if number % 2 else reversed(order):
            seconds[place] += loops[place].turn()
    return seconds
