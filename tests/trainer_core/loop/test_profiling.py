"""The profiler: what it leaves, that it changes nothing, and that its errors stay its own."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.events import Alert, RunResolved
from schemas.profiling import Profiler
from trainer_core.channel import Channel
from trainer_core.loop import profiling
from trainer_core.loop.profiling import Profiling, RecordedProfiling, build_profiling


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    from tests.trainer_core.conftest import MODEL, Bench

    bench = Bench(tmp_path_factory.mktemp("profiled"))
    bench.write_model(MODEL)
    bench.write_data()
    wanted = {"wait": 2, "warmup": 1, "active": 4, "recordShapes": True}
    run = bench.train("profiled", trainingConfig={"epochs": 2, "profiler": wanted})
    plain = bench.train("plain", trainingConfig={"epochs": 2})
    return run, plain


def artifacts(run):
    return {artifact.name: artifact for artifact in run.ending.artifacts}


def test_a_trace_and_a_table_are_among_the_artifacts(profiled):
    """The steps of the trace go over the end of an epoch of five."""
    run, _ = profiled
    for name in ("trace.json.gz", "profile.txt"):
        artifact = artifacts(run)[name]
        content = Path(artifact.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.bytes, artifact.sha256)
    trace = json.loads(gzip.decompress(Path(artifacts(run)["trace.json.gz"].path).read_bytes()))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {f"ProfilerStep#{number}" for number in range(3, 7)} <= names
    assert "ProfilerStep#2" not in names
    assert "aten::addmm" in names
    table = Path(artifacts(run)["profile.txt"].path).read_text().splitlines()
    assert table[0].split()[:2] == ["operation", "calls"]
    assert any(line.startswith("aten::addmm ") for line in table)
    assert not any(line.startswith("ProfilerStep") for line in table)


def test_it_is_said_and_changes_no_weight(profiled):
    run, plain = profiled
    (alert,) = [alert for alert in run.of(Alert) if alert.code == "profiled"]
    assert alert.level == "info"
    assert alert.message.startswith("Steps 4 to 7 ")
    assert run.of(RunResolved)[0].resolved["trainingConfig"]["profiler"]["active"] == 4
    assert all(np.array_equal(run.weights()[name], value) for name, value in plain.weights().items())


def test_nothing_is_left_lying_about(profiled):
    run, plain = profiled
    beside = {path.name for path in run.run_folder.iterdir()} - {path.name for path in plain.run_folder.iterdir()}
    assert beside == {"trace.json.gz", "profile.txt"}
    assert not {"trace.json.gz", "profile.txt"} & artifacts(plain).keys()


def test_a_run_that_ends_before_says_so(bench):
    run = bench.train(trainingConfig={"epochs": 1, "profiler": {"wait": 4, "warmup": 1}})
    (alert,) = [alert for alert in run.of(Alert) if alert.code.startswith("profile")]
    assert alert.code == "profiler_too_late"
    assert "after 5 steps, before step 6" in alert.message
    assert "trace.json.gz" not in artifacts(run)


def test_of_a_run_that_ends_in_between_there_is_what_there_was(bench):
    run = bench.train(trainingConfig={"epochs": 1, "profiler": {"wait": 2, "warmup": 0, "active": 50}})
    (alert,) = [alert for alert in run.of(Alert) if alert.code.startswith("profile")]
    assert alert.message.startswith("Steps 3 to 5 ")
    assert "trace.json.gz" in artifacts(run)


def test_its_errors_end_it_and_not_the_run(bench):
    """A folder stands where the trace is to be."""
    (bench.folder / "runs" / "run" / "trace.json.gz" / "full").mkdir(parents=True)
    run = bench.train(trainingConfig={"epochs": 2, "profiler": True})
    assert run.ending.state == "succeeded"
    (alert,) = [alert for alert in run.of(Alert) if alert.code.startswith("profile")]
    assert (alert.code, alert.level) == ("profiler_failed", "warning")
    assert "trace.json.gz" not in artifacts(run)


def test_a_trace_that_is_too_large_is_thrown_away(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "MOST_BYTES", 10)
    channel = Channel()
    looking = RecordedProfiling(Profiler(wait=0, warmup=0, active=1), torch.device("cpu"), tmp_path, channel)
    assert list(looking.over([1, 2])) == [1, 2]
    looking.close()
    assert [artifact.name for artifact in looking.artifacts] == ["profile.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["profile.txt"]
    assert "thrown away" in channel.said[0].message


def test_without_it_batches_are_what_they_were(tmp_path):
    nothing = build_profiling(None, torch.device("cpu"), tmp_path, Channel())
    batches = [1, 2, 3]
    assert type(nothing) is Profiling
    assert nothing.over(batches) is batches
