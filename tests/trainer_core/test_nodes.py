"""Two nodes, as two launchers on this machine: they train the model that one process trains, and fail and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.assignment import OUTCOME_FILE, Assignment, Outcome
from tests.ports import free_port
from tests.tiers import LARGE
from trainer_core.channel import Channel
from trainer_core.engines.native import train
from trainer_core.failure import Failure
from trainer_core.nodes.interfaces import interface_towards
from trainer_core.nodes.meeting import met
from trainer_core.stop import Stop


def node_assignment(bench, number: int, port: int, devices: tuple[str, ...] = ("cpu",), **changes) -> Assignment:
    """The assignment of one node of two."""
    rendezvous = {"endpoint": f"127.0.0.1:{port}", "nodeRank": number, "timeoutSeconds": 60}
    training = {"numNodes": 2, **changes.pop("trainingConfig", {})}
    training["rendezvous"] = {**rendezvous, **training.pop("rendezvous", {})}
    return bench.assignment(f"node-{number}", devices, trainingConfig=training, **changes)


@contextmanager
def worker(assignment: Assignment):
    """A worker as the service starts it, in a process of its own."""
    folder = Path(assignment.attempt_folder)
    (folder / "assignment.json").write_text(assignment.model_dump_json(by_alias=True))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer_core.worker", str(folder)], stdout=log, stderr=log, env=environment
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def events(assignment: Assignment) -> list[dict]:
    """What the node said."""
    return [json.loads(line) for line in (Path(assignment.attempt_folder) / "events.jsonl").read_text().splitlines()]


def said(assignment: Assignment, kind: str) -> list[dict]:
    return [line["data"] for line in events(assignment) if line["type"] == kind]


def outcome(assignment: Assignment) -> Outcome:
    """How the node's worker ended."""
    return Outcome.model_validate_json((Path(assignment.attempt_folder) / OUTCOME_FILE).read_bytes())


def rows(assignment: Assignment) -> list[dict]:
    """The node's curve, without what a clock measured."""
    clocks = {"seconds", "samplesPerSecond", "dataWaitSeconds", "evaluationSeconds"}
    return [{k: v for k, v in row.items() if k not in clocks} for row in said(assignment, "epoch.completed")]


def killed_after(assignment: Assignment, kind: str, process: subprocess.Popen) -> threading.Thread:
    """Kills ``process`` when the node of ``assignment`` has said an event of this ``kind``."""
    path = Path(assignment.attempt_folder) / "events.jsonl"
    path.touch()

    def watch() -> None:
        heard = ""
        with path.open() as file:
            # Looked at between two waits for its end: who looks without a pause takes a processor from the nodes.
            while process.poll() is None:
                if f'"{kind}"' in (heard := heard + file.read()):
                    process.kill()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def again(assignment: Assignment) -> Assignment:
    """The next attempt at it."""
    folder = Path(assignment.attempt_folder).with_name(f"{assignment.job_id}-again")
    folder.mkdir()
    return assignment.model_copy(update={"attempt": 2, "attempt_folder": str(folder), "go_on": True})


# The second node stands still in its eighth pass, as long as there is a pipe to wait at: no run is over before it is killed.
HELD = """
import os
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.passes = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)), 0

    def forward(self, x):
        self.passes += self.training
        if self.passes == 8 and os.environ.get("RANK") == "1" and os.path.exists("PIPE"):
            open("PIPE").read()
        return self.layers(x)
"""


@pytest.mark.timeout(300)
def test_two_nodes_train_the_model_of_one_process_also_when_one_is_killed(bench):
    """Uneven last batches, of training and of evaluation. The loss of a node is noticed; what follows goes on from the first
    node's checkpoint, which the other one does not have. Both say the same figures, one keeps checkpoints."""
    bench.write_data(train=71, validation=17)
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    bench.write_model(HELD.replace("PIPE", str(pipe)))
    changes = {
        "dataConfig": {"batchSize": 10, "evalBatchSize": 8},
        "trainingConfig": {"epochs": 3, "gradientAccumulation": 3, "optimizer": "SGD", "learningRate": 0.5}
        | {"reportEverySeconds": 0},
        "checkpointConfig": {"saveEverySteps": 1},
    }
    one = bench.train("one", **changes)
    first, second = (node_assignment(bench, number, port, **changes) for port in [free_port()] for number in (0, 1))
    with worker(first) as process, worker(second) as other:
        watcher = killed_after(first, "checkpoint.saved", other)
        assert process.wait(100) == 0
        watcher.join()
    pipe.unlink()
    lost = outcome(first).error
    assert lost is not None
    assert (lost.code, lost.message.partition(":")[0]) == ("worker_lost", "Node 0 has lost another node of the run")
    assert not list(Path(second.run_folder).glob("*/manifest.json"))
    first, second = again(first), again(second)
    with worker(first) as process, worker(second) as other:
        assert (process.wait(100), other.wait(100)) == (0, 0)
    assert outcome(first).state == "succeeded"
    assert outcome(second) == Outcome(state="succeeded")
    (restored,), (elsewhere,) = said(first, "run.restored"), said(second, "run.restored")
    assert restored["step"] >= 1
    assert elsewhere == {**{name: value for name, value in restored.items() if name != "bestPath"}, "path": ""}
    weights = load_file(Path(said(first, "checkpoint.saved")[-1]["path"]) / "model.safetensors")
    for name, tensor in one.weights().items():
        assert np.abs(tensor - weights[name]).max() <= 1e-6, name
    curve = [data.to_json() for data in one.said if data.event_type == "epoch.completed"][-len(rows(first)) :]
    for row, expected in zip(rows(first), curve, strict=True):
        assert row["valLoss"] == pytest.approx(expected["valLoss"], abs=1e-6)
        assert row["trainLoss"] == pytest.approx(expected["trainLoss"], abs=1e-6)
        assert row["valAccuracy"] == expected["valAccuracy"]
    assert rows(second) == rows(first)
    assert not said(second, "checkpoint.saved")
    assert not list(Path(second.run_folder).glob("*/manifest.json"))
    assert "kept_by_first_node" in {alert["code"] for alert in said(second, "alert")}


@pytest.mark.parametrize(("number", "waited_for"), [(0, "node 1 to come to"), (1, "the first node to listen at")])
def test_a_node_that_nobody_meets_fails_in_time(bench, number, waited_for):
    port = free_port()
    alone = node_assignment(bench, number, port, trainingConfig={"rendezvous": {"timeoutSeconds": 1}})
    with pytest.raises(Failure, match=f"Node {number} of 2 waited 1 s for {waited_for} 127.0.0.1:{port}") as caught:
        train(alone, Channel(), Stop())
    assert (caught.value.error.code, caught.value.error.retryable) == ("rendezvous_failed", True)


@pytest.mark.parametrize("number", [0, 1])
def test_a_node_that_waits_can_be_stopped(bench, number):
    stop = Stop()
    timer = threading.Timer(0.2, lambda: setattr(stop, "requested", True))
    timer.start()
    assert train(node_assignment(bench, number, free_port()), Channel(), stop).state == "stopped"
    timer.join()


def test_a_port_that_somebody_uses_is_named(bench):
    with socket.create_server(("0.0.0.0", 0)) as server:
        taken = node_assignment(bench, 0, server.getsockname()[1])
        with pytest.raises(Failure, match="cannot listen at") as caught:
            train(taken, Channel(), Stop())
    assert caught.value.error.code == "rendezvous_failed"


def test_nodes_of_different_runs_do_not_begin(bench):
    """Both say which setting differs; where the data lie, and how many devices a node has, may differ."""
    port, caught = free_port(), []
    first = node_assignment(bench, 0, port, trainingConfig={"learningRate": 0.5}, dataConfig={"trainPath": "/a"})
    second = node_assignment(
        bench, 1, port, ("cpu", "cpu"), trainingConfig={"devices": 2}, dataConfig={"trainPath": "/b"}
    )

    def fail(assignment: Assignment) -> None:
        with pytest.raises(Failure) as failure, met(assignment, Channel(), Stop()):
            pass
        caught.append((failure.value.error.code, str(failure.value)))

    other = threading.Thread(target=fail, args=(second,))
    other.start()
    fail(first)
    other.join()
    message = "trainingConfig.learningRate is 0.5 on node 0, and 0.01 on node 1: all train one model."
    assert caught == [("input_invalid", message)] * 2


def test_the_interface_that_leads_to_the_loopback():
    assert interface_towards(("127.0.0.1", 29500)) == "lo"
    assert interface_towards(("::1", 29500)) is None


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
def test_two_nodes_of_two_ranks(bench):
    bench.write_data(train=71, validation=17)
    changes = {
        "dataConfig": {"batchSize": 10, "evalBatchSize": 8},
        "trainingConfig": {"epochs": 2, "gradientAccumulation": 3, "optimizer": "SGD", "learningRate": 0.5},
    }
    one = bench.train("one", **changes)
    for strategy, most in (("ddp", 1e-6), ("fsdp", 1e-5)):
        port = free_port()
        of_strategy = {**changes, "trainingConfig": {**changes["trainingConfig"], "strategy": strategy, "devices": 2}}
        first, second = (node_assignment(bench, number, port, ("cpu", "cpu"), **of_strategy) for number in (0, 1))
        with worker(first) as process, worker(second) as other:
            assert (process.wait(100), other.wait(100)) == (0, 0)
        assert outcome(first).state == outcome(second).state == "succeeded"
        weights = load_file(Path(said(first, "checkpoint.saved")[-1]["path"]) / "model.safetensors")
        for name, tensor in one.weights().items():
            assert np.abs(tensor - weights[name]).max() <= most, (strategy, name)
        assert rows(second) == rows(first)
        for assignment in (first, second):
            Path(assignment.attempt_folder, "events.jsonl").unlink()


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
def test_a_node_that_falls_silent_is_lost_in_time(bench):
    """Stopped, not dead: its connections stand."""
    changes = {"trainingConfig": {"epochs": 100_000, "reportEverySeconds": 0, "rendezvous": {"lostAfterSeconds": 3}}}
    port = free_port()
    first, second = (node_assignment(bench, number, port, **changes) for number in (0, 1))
    with worker(second) as process:
        path = Path(first.attempt_folder) / "events.jsonl"
        path.touch()

        def fall_silent() -> None:
            with path.open() as file:
                while '"checkpoint.saved"' not in file.readline():
                    pass
            for pid in [*Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split(), process.pid]:
                os.kill(int(pid), signal.SIGSTOP)

        silencer = threading.Thread(target=fall_silent)
        silencer.start()
        with pytest.raises(Failure) as caught:
            train(first, Channel(), Stop())
        silencer.join()
    assert caught.value.error.code == "worker_lost"


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
@pytest.mark.parametrize("number", [0, 1])
def test_why_one_node_fails_is_told_on_both(bench, number):
    bench.write_model(
        "import os\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        f"        if self.training and os.environ['RANK'] == '{number}':\n            raise ValueError('only here')\n"
        "        return self.layer(x)\n"
    )
    port = free_port()
    nodes = [node_assignment(bench, each, port) for each in (0, 1)]
    with worker(nodes[0]) as process, worker(nodes[1]) as other:
        assert (process.wait(100), other.wait(100)) == (0, 0)
    here, there = outcome(nodes[number]).error, outcome(nodes[1 - number]).error
    assert here is not None
    assert there is not None
    assert (here.code, there.code) == ("model_invalid", "model_invalid")
    assert there.message == f"On node {number}: {here.message}"
    assert "only here" in there.untrusted


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
def test_other_data_on_one_node(bench):
    (bench.folder / "fewer").mkdir()
    rows_there = dict(np.load(bench.folder / "train.npz"))
    np.savez(bench.folder / "fewer" / "train.npz", **{name: array[:-1] for name, array in rows_there.items()})
    port = free_port()
    first = node_assignment(bench, 0, port)
    second = node_assignment(bench, 1, port, dataConfig={"trainPath": str(bench.folder / "fewer" / "train.npz")})
    with worker(second) as other:
        with pytest.raises(Failure, match="Nodes 0 and 1 have read other data") as caught:
            train(first, Channel(), Stop())
        other.wait(60)
    assert caught.value.error.code == outcome(second).error.code == "data_invalid"


@pytest.mark.torture
@pytest.mark.skipif(not LARGE, reason="of the large tier: make torture")
@pytest.mark.parametrize("memory", [True, False])
def test_ranks_that_start_again_do_so_on_both_nodes(bench, memory):
    """Memory that runs out on one node, or a pass on one that leaves a parameter out: both launch again, in the same attempt."""
    short = "self.training and len(x) > 4 and os.environ['RANK'] == '1'"
    bench.write_model(
        "import os, torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n        self.layer = nn.Linear(6, 3)\n        self.seldom = nn.Linear(6, 3)\n"
        "    def forward(self, x):\n"
        f"        if {memory} and {short}:\n            torch.empty(1 << 60, dtype=torch.uint8)\n"
        f"        if {not memory} and {short}:\n            return self.layer(x)\n"
        "        return self.layer(x) + self.seldom(x)\n"
    )
    port = free_port()
    nodes = [node_assignment(bench, number, port) for number in (0, 1)]
    with worker(nodes[0]) as process, worker(nodes[1]) as other:
        assert (process.wait(100), other.wait(100)) == (0, 0)
    assert [outcome(node).state for node in nodes] == ["succeeded", "succeeded"]
    assert rows(nodes[0]) == rows(nodes[1])
    for node in nodes:
        if memory:
            assert [made["after"] for made in said(node, "recovery")] == [{"microBatch": 4}]
        else:
            assert "unused_parameters" in {alert["code"] for alert in said(node, "alert")}
