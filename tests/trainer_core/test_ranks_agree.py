"""Ranks of which each sees something else take the same decisions: when to stop, and what a search has found."""

import shutil
from typing import Any

import numpy as np
import pytest

from tests.tiers import LARGE
from tests.trainer_core.conftest import Bench
from tests.trainer_core.runs_on_ranks import Came, Planned, run_on_ranks
from tests.trainer_core.test_ddp import newest_weights

# The second rank has less memory than the others. Each draws masks of its own, and a figure; batch normalisation sees all ranks'
# samples, unless it is of a class of the model file.
LIMITED = """
import os

import numpy as np
import torch
from torch import nn


class Limited(nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        if self.training and len(x) > self.limit and os.environ["RANK"] == "1":
            torch.empty(1 << 60, dtype=torch.uint8)
        return x


class Own(nn.BatchNorm1d):
    pass


def build_model(limit=1000, apart=False):
    return nn.Sequential(
        nn.Linear(6, 8), Own(8) if apart else nn.BatchNorm1d(8), nn.Tanh(), Limited(limit), nn.Dropout(0.2), nn.Linear(8, 3)
    )


def metrics(outputs, targets):
    return {"drawn": np.random.random()}
"""
DRAWN = {"monitor": "valDrawn", "mode": "max", "patience": 1}
STEADY = {"epochs": 2, "reportEverySeconds": 0}
RATES = {"steps": 25, "minLearningRate": 1e-4, "maxLearningRate": 10.0}


WORLDS = [2, 3] if LARGE else [3]


@pytest.fixture(scope="module", params=WORLDS, ids="{} ranks".format)
def came(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Came]]:
    """What came of each run, rank by rank. All of them in the same processes: to start these takes longest."""
    world: int = request.param
    bench = Bench(tmp_path_factory.mktemp("ranks"))
    bench.write_data()
    bench.write_model(LIMITED)
    names: list[str] = []
    plan: list[Planned] = []

    def run(
        name: str,
        *,
        stops: dict[int, int] | None = None,
        found_by: str | None = None,
        limit: int = 1000,
        apart: bool = False,
        resumes: str | None = None,
        saves: dict[str, Any] | None = None,
        **training: Any,
    ) -> None:
        changes: dict[str, Any] = {
            "trainingConfig": {**STEADY, **training},
            "modelConfig": {"args": {"limit": limit, "apart": apart}},
            "checkpointConfig": {**(saves or {})},
        }
        if resumes is not None:
            changes["checkpointConfig"]["resumeFrom"] = str(bench.folder / "runs" / resumes)
        assignment = bench.assignment(name, ("cpu",) * world, **changes)
        plan.append(Planned(assignment, stops or {}, None if found_by is None else names.index(found_by)))
        names.append(name)

    # A look before the first step, one in each of five, one in an evaluation's batch on the first rank, and one after it.
    run("stopped in a step", stops={world - 1: 4})
    run("stopped in an evaluation", stops={0: 7})
    run("stopped after an evaluation", stops={1: 7})
    run("resumed", resumes="stopped in a step")
    run("never stopped")
    run("saved in each step", saves={"saveEverySteps": 1})
    run("stopped in a search for a rate", stops={world - 1: 3}, learningRateFinder=RATES)
    run("stopped in a search for a size", stops={1: 2}, batchSizeFinder=True, gradientAccumulation=3, limit=5)
    run("rate searched", learningRateFinder=RATES)
    run("rate given", found_by="rate searched")
    run("size searched", batchSizeFinder=True, gradientAccumulation=3, limit=5)
    run("size given", found_by="size searched", gradientAccumulation=3, limit=5)
    run("statistics apart", apart=True)
    run("judged by what is drawn", earlyStopping=DRAWN, epochs=20)
    return dict(zip(names, run_on_ranks(world, plan), strict=True))


def alike(ranks: list[Came]) -> Came:
    """What came of a run on every rank: only their generators differ."""
    first = ranks[0]
    for rank in ranks:
        assert (rank.state, rank.step, rank.epoch, rank.held) == (first.state, first.step, first.epoch, first.held)
        assert rank.found == first.found
    return first


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ("in a step", 3),
        ("in an evaluation", 5),
        ("after an evaluation", 5),
        ("in a search for a rate", 0),
        ("in a search for a size", 0),
    ],
)
def test_all_ranks_stop_after_the_same_step(came, where, step):
    """One of them is asked to, and it is not always the same one."""
    ended = alike(came[f"stopped {where}"])
    assert (ended.state, ended.step, ended.epoch) == ("stopped", step, 0)
    assert not any(ended.found.values())


@pytest.mark.parametrize("setting", ["rate", "size"])
def test_after_a_search_all_ranks_train_the_model_of_what_it_found(came, setting):
    """To the bit: model, optimizer, and each rank's own generator."""
    searched, given = came[f"{setting} searched"], came[f"{setting} given"]
    assert alike(searched).state == "succeeded"
    assert None not in alike(searched).found.values()
    assert len(alike(searched).found) == 1
    assert not alike(given).found
    for one, other in zip(searched, given, strict=True):
        assert (one.held, one.random, one.step) == (other.held, other.random, other.step)
    assert len({rank.random for rank in searched}) == len(searched), "each has drawn its own masks"


def test_a_resumed_run_is_one_that_was_never_stopped(came):
    """To the bit, though a process sums gradients of its first pass in another order than later ones."""
    for one, other in zip(came["resumed"], came["never stopped"], strict=True):
        assert (one.state, one.held, one.random, one.step) == ("succeeded", other.held, other.random, other.step)


def test_the_curve_of_a_resumed_run_counts_each_sample_once(came):
    """Of the epoch that was cut, and of one in which a checkpoint was written: the first rank keeps what all have counted."""
    for whole in ("never stopped", "saved in each step"):
        for one in came["resumed"]:
            assert len(one.curve) == 2
            assert one.curve == [pytest.approx(row, rel=1e-12) for row in came[whole][0].curve]


def test_all_ranks_evaluate_with_the_statistics_that_are_saved(came):
    """Those of the first, where batch normalisation sees the samples of one rank."""
    assert alike(came["statistics apart"]).state == "succeeded"


def test_all_ranks_judge_an_epoch_alike(came):
    """Also by a figure that each of them would have drawn otherwise: which epoch is the best, and when patience has run out."""
    assert alike(came["judged by what is drawn"]).state == "early_stopped"


def test_the_rank_with_the_least_memory_decides(came):
    """Five samples fit on it, and fifty on the others. An optimizer batch of 48 is cut so that no pass is left with one."""
    assert alike(came["size searched"]).found == {"/dataConfig/microBatchSize": 4}


# What a compiler rounds otherwise.
ROUNDED = """
from torch import nn


def build_model():
    return nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.LayerNorm(64), nn.Softmax(-1), nn.Linear(64, 3))
"""


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
@pytest.mark.parametrize("accumulation", [1, 2])
def test_compiled_ranks_go_on_as_if_never_stopped(bench, accumulation):
    """To the bit, and as ranks that are not compiled (1e-6). Of three ranks each has passes of a size of its own; the last batch
    of an epoch is short, and an average is kept."""
    bench.write_model(ROUNDED)
    plan: list[Planned] = []

    def run(name: str, stops: dict[int, int], **changes: Any) -> None:
        # Not Adam, which makes a step of its usual length even of a gradient that is rounding alone.
        training = {**STEADY, "optimizer": "SGD", "learningRate": 0.5, "weightAveraging": {"method": "ema"}}
        training |= {"gradientAccumulation": accumulation, "compile": "on"}
        changes["trainingConfig"] = training | changes.get("trainingConfig", {})
        plan.append(Planned(bench.assignment(name, ("cpu",) * 3, **changes), stops))

    run("plain", {}, trainingConfig={"compile": "off"})
    run("never stopped", {})
    run("stopped", {2: 4})
    run("resumed", {}, checkpointConfig={"resumeFrom": str(bench.folder / "runs" / "stopped")})
    _, whole, _, resumed = (alike(ranks) for ranks in run_on_ranks(3, plan))
    assert (resumed.state, resumed.held) == ("succeeded", whole.held)
    plain, compiled = (newest_weights(planned.assignment) for planned in plan[:2])
    assert max(np.abs(tensor - plain[name]).max() for name, tensor in compiled.items()) <= 1e-6
