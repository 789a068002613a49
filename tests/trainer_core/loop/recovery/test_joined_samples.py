"""Samples that a collate joins (graphs, packed sequences) have no rows to cut a batch by: fewer of them are joined instead, and a
run that is short of memory gives what one gives that had joined fewer from the start."""

import numpy as np
import pytest

from app.gate.patches import apply
from app.review.facts import Facts
from app.review.recommending import recommend
from schemas.events import EpochCompleted, RecoveryMade, RunResolved, RunTuned
from schemas.recovery import RecoveryEntry
from schemas.request import TrainingRequest
from tests.trainer_core.conftest import Run
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.stop import Stop

# Graphs of two to four nodes, each node with a class; more than ``limit`` nodes at once do not fit in training, and more than
# ``evaluation_limit`` not in evaluation.
GRAPHS = """
import torch
from torch import nn


class Graphs(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        nodes = 2 + index % 3
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(nodes, 6, generator=generator) + DRAWN * torch.rand(1)
        edges = torch.stack([torch.arange(nodes), torch.arange(nodes).roll(1)])
        return x, edges, (x[:, 0] > x[:, 1]).long() + (x[:, 2] > 1).long()


DRAWN = 0.0


def build_dataset(path, split):
    return Graphs()


def collate(items):
    nodes, edges, classes = zip(*items)
    first = torch.tensor([0] + [len(each) for each in nodes[:-1]]).cumsum(0)
    return {"x": torch.cat(nodes), "edges": torch.cat([e + f for e, f in zip(edges, first)], 1)}, torch.cat(classes)


class Net(nn.Module):
    def __init__(self, limit=10_000, evaluation_limit=10_000, dropout=0.0):
        super().__init__()
        self.limits = {True: limit, False: evaluation_limit}
        self.inner, self.outer, self.dropout = nn.Linear(6, 8), nn.Linear(8, 3), nn.Dropout(dropout)

    def forward(self, x, edges):
        if len(x) > self.limits[self.training]:
            torch.empty(1 << 60, dtype=torch.uint8)
        hidden = self.inner(x)
        hidden = hidden.index_add(0, edges[1], hidden[edges[0]])
        return self.outer(self.dropout(hidden.relu()))
"""
WINDOW = {"dataConfig": {"batchSize": 16, "evalBatchSize": 16}, "trainingConfig": {"epochs": 2}}


@pytest.fixture
def graphs(bench):
    bench.write_model(GRAPHS)
    return bench


def figures(run):
    return [(row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy) for row in run.of(EpochCompleted)]


def difference(one, other) -> float:
    return max(np.abs(tensor - other.weights()[name]).max() for name, tensor in one.weights().items())


def with_model(settings, **args):
    return {**settings, "modelConfig": {"args": args}}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_is_short_of_memory_is_the_one_that_joins_fewer_at_once(graphs, workers):
    data = WINDOW["dataConfig"] | {"numWorkers": workers}
    short = graphs.train("short", **with_model(WINDOW | {"dataConfig": data}, limit=30, dropout=0.3))
    assert [(made.action, made.after) for made in short.of(RecoveryMade)] == [("micro_batch_halved", {"microBatch": 8})]
    same = {
        "asked": WINDOW | {"dataConfig": data | {"microBatchSize": 8}},
        "accumulated": {
            "dataConfig": data | {"batchSize": 8},
            "trainingConfig": WINDOW["trainingConfig"] | {"gradientAccumulation": 2},
        },
    }
    for name, settings in same.items():
        run = graphs.train(name, **with_model(settings, limit=30, dropout=0.3))
        assert not run.of(RecoveryMade)
        assert difference(run, short) == 0
        assert figures(run) == figures(short)


def test_the_optimizer_batch_is_the_same_however_many_are_joined(graphs):
    whole = graphs.train("whole", **WINDOW)
    for size in (1, 3, 5):
        cut = graphs.train(f"cut-{size}", **WINDOW | {"dataConfig": WINDOW["dataConfig"] | {"microBatchSize": size}})
        assert difference(cut, whole) <= 1e-6
        assert np.allclose(figures(cut), figures(whole), atol=1e-6)


def test_the_request_that_is_recommended_does_not_run_out_again_and_is_the_same_run(graphs):
    args = {"limit": 30, "evaluation_limit": 30, "dropout": 0.3}
    short = graphs.train("short", **with_model(WINDOW, **args))
    recoveries = [RecoveryEntry.model_validate(made.model_dump()) for made in short.of(RecoveryMade)]
    (resolved,) = short.of(RunResolved)
    facts = Facts("succeeded", short.of(EpochCompleted), 2, resolved.resolved, recoveries=recoveries)
    (advice,) = [each for each in recommend(facts, None) if each.code == "keep_what_fits"]
    following = apply(resolved.resolved, advice.patch)
    assert following["dataConfig"] | {"microBatchSize": 8, "evalBatchSize": 8} == following["dataConfig"]
    request = TrainingRequest.model_validate(following)
    channel = Channel()
    train(graphs.assignment("again").model_copy(update={"request": request}), channel, Stop())
    again = Run(channel.said, graphs.folder / "runs" / "again")
    assert not again.of(RecoveryMade)
    assert difference(again, short) == 0


def test_evaluation_joins_fewer_too(graphs):
    whole = graphs.train("whole", **WINDOW)
    short = graphs.train("short", **with_model(WINDOW, evaluation_limit=20))
    assert [made.after for made in short.of(RecoveryMade)] == [{"evaluationBatch": 8}, {"evaluationBatch": 4}]
    assert difference(short, whole) == 0
    assert np.allclose(figures(short), figures(whole), atol=1e-6)


def test_what_the_finder_tries_is_joined_as_the_run_joins_it(graphs):
    """Slices of what was joined would have edges to nodes that are not there."""
    finder = {"action": "use", "by": "memory"}
    found = graphs.train(
        "found", **with_model(WINDOW | {"trainingConfig": {"epochs": 2, "batchSizeFinder": finder}}, limit=30)
    )
    (tuned,) = found.of(RunTuned)
    assert 5 <= tuned.used <= 10
    assert not found.of(RecoveryMade)
    data = WINDOW["dataConfig"] | {"microBatchSize": tuned.used}
    assert difference(graphs.train("asked", **with_model(WINDOW | {"dataConfig": data}, limit=30)), found) == 0


def test_a_sample_draws_the_same_when_it_is_joined_again(graphs):
    graphs.write_model(GRAPHS.replace("DRAWN = 0.0", "DRAWN = 1.0"))
    whole = graphs.train("whole", **WINDOW)
    short = graphs.train("short", **with_model(WINDOW, limit=30))
    assert short.of(RecoveryMade)
    assert difference(short, whole) <= 1e-6
