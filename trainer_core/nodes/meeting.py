"""How the nodes of a run meet before each launch."""

import json
import os
import socket
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore

from schemas.assignment import Assignment
from schemas.events import Alert, Log
from schemas.nodes import Rendezvous
from schemas.result import Place
from schemas.training import TrainingConfig
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.nodes.interfaces import interface_towards
from trainer_core.nodes.word import CONNECT, HEAR_SECONDS, leave_word
from trainer_core.stop import Stop

_LOOK_SECONDS = 0.1
_SAY_SECONDS = 60.0
_POINTER = "/trainingConfig/rendezvous"

# What may differ between the nodes of a run: where things are, what is tracked, and how much of each machine is used.
_OWN = {
    "trainingConfig": ("devices", "rendezvous"),
    "dataConfig": ("trainPath", "valPath", "numWorkers"),
    "checkpointConfig": ("saveDir", "resumeFrom", "keepLast"),
}
_COMPARED = ("trainingConfig", "dataConfig", "checkpointConfig", "modelConfig")


@dataclass(frozen=True)
class Launch:
    """One start of all ranks that the nodes have agreed on: ``number`` of ``nodes`` is this one."""

    nodes: int
    number: int
    endpoint: str
    run_id: str
    seconds: float


@dataclass(frozen=True)
class Met:
    """What came of waiting for the other nodes: a launch, unless there are none or this one was asked to stop."""

    agreed: Launch | None = None
    stopped: bool = False


@contextmanager
def met(assignment: Assignment, channel: Channel, stop: Stop) -> Iterator[Met]:
    """The launch that all nodes of the run begin together. What the block raises, the others hear.

    Raises Failure ``rendezvous_failed`` when not all have come in time, and ``input_invalid`` when another node trains
    something else.
    """
    training = assignment.request.training_config
    if training.num_nodes == 1:
        yield Met()
        return
    rendezvous = training.rendezvous
    assert rendezvous is not None
    # Gloo would take the interface that the machine's own name means, which often is the loopback.
    name = interface_towards(rendezvous.address)
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    number, nodes = rendezvous.node_rank, training.num_nodes
    kind: type[Host | Guest] = Guest if number else Host
    meeting = kind(rendezvous, nodes, _card(assignment), channel)
    run_id = meeting.gather(stop)
    if run_id is None:
        yield Met(stopped=True)
        return
    try:
        yield Met(Launch(nodes, number, rendezvous.endpoint, run_id, rendezvous.timeout_seconds))
    except Exception as failure:
        with suppress(DistError):
            meeting.part(run_id, failure)
        raise


def say_who_keeps(training: TrainingConfig, channel: Channel) -> None:
    """Say on every node but the first that it keeps nothing."""
    if training.node_rank:
        message = (
            f"This is node {training.node_rank} of {training.num_nodes}: checkpoints, artifacts and the run in MLflow are those "
            "of the first node's job."
        )
        channel.emit(Alert(code="kept_by_first_node", level="info", message=message))


class Meeting(ABC):
    """One node's side of it. ``card`` says what it trains."""

    def __init__(self, rendezvous: Rendezvous, nodes: int, card: dict[str, Any], channel: Channel) -> None:
        self.number = rendezvous.node_rank
        self.nodes = nodes
        self.host, self.port = rendezvous.address
        self.card = card
        self._rendezvous = rendezvous
        self._channel = channel
        self._began = self._said = time.monotonic()

    def gather(self, stop: Stop) -> str | None:
        """The id of the launch that all begin now; None when asked to ``stop``."""
        while not stop.requested:
            run_id, waited_for = self.look()
            if run_id is not None:
                return run_id
            now = time.monotonic()
            if now - self._began >= self._rendezvous.timeout_seconds:
                raise self._alone(waited_for)
            if now - self._said >= _SAY_SECONDS:
                self._said = now
                text = f"Node {self.number} has waited {now - self._began:.0f} s for {waited_for}."
                self._channel.emit(Log(level="info", stream="worker", text=text))
            time.sleep(_LOOK_SECONDS)
        self.leave()
        return None

    @abstractmethod
    def look(self) -> tuple[str | None, str]:
        """The launch, or what is waited for."""

    @abstractmethod
    def leave(self) -> None:
        """Wait no more."""

    @abstractmethod
    def part(self, run_id: str, failure: Exception) -> None:
        """The launch has failed here. Raises ``DistError``."""

    def connect(self, **more: Any) -> TCPStore:
        """The store at the endpoint."""
        return TCPStore(self.host, self.port, timeout=CONNECT, wait_for_workers=False, **more)

    def _alone(self, waited_for: str) -> Failure:
        seconds = self._rendezvous.timeout_seconds
        return Failure(
            "rendezvous_failed",
            f"Node {self.number} of {self.nodes} waited {seconds:g} s for {waited_for}.",
            place=Place(pointer=f"{_POINTER}/endpoint"),
        )


class Host(Meeting):
    """The first node, where the others come to."""

    _store: TCPStore | None = None

    def look(self) -> tuple[str | None, str]:
        """The launch, once all have come and train the same."""
        if self._store is None:
            self._store = self._open()
        missing = [number for number in range(1, self.nodes) if not self._store.check([f"hello/{number}"])]
        if missing:
            numbers = ", ".join(map(str, missing))
            return None, f"node{'s' * (len(missing) > 1)} {numbers} to come to {self._rendezvous.endpoint}"
        hellos = {number: json.loads(self._store.get(f"hello/{number}")) for number in range(1, self.nodes)}
        wrong = next(filter(None, (self._difference(number, hello["card"]) for number, hello in hellos.items())), None)
        run_id = uuid.uuid4().hex
        for number, hello in hellos.items():
            self._store.delete_key(f"hello/{number}")
            self._store.set(f"answer/{hello['token']}", json.dumps({"run": run_id, "wrong": wrong}))
        if wrong is not None:
            self._wait([f"read/{hello['token']}" for hello in hellos.values()])
            raise Failure("input_invalid", wrong, place=Place(pointer=_POINTER))
        return run_id, ""

    def leave(self) -> None:
        """Nobody counts on an answer before all have come."""

    def part(self, run_id: str, failure: Exception) -> None:
        """Leave the reason, and stay for a moment: the others look here for it."""
        assert self._store is not None
        leave_word(PrefixStore(run_id, self._store), self.number, failure)
        self._wait([f"{run_id}/left/{number}" for number in range(1, self.nodes)])

    def _wait(self, keys: list[str]) -> None:
        assert self._store is not None
        with suppress(DistError):
            self._store.wait(keys, timedelta(seconds=HEAR_SECONDS))

    def _open(self) -> TCPStore:
        try:
            # The launcher opens the same store once more, in this process.
            return self.connect(is_master=True, multi_tenant=True)
        except DistError as error:
            raise Failure(
                "rendezvous_failed",
                f"The first node cannot listen at {self._rendezvous.endpoint}.",
                next_move="Name an address of the first node and a port that nothing else uses.",
                place=Place(pointer=f"{_POINTER}/endpoint"),
                detail=str(error),
            ) from error

    def _difference(self, number: int, card: dict[str, Any]) -> str | None:
        """The first setting in which node ``number`` is of another run, in words."""
        for name in dict.fromkeys([*self.card, *card]):
            mine, other = self.card.get(name, "absent"), card.get(name, "absent")
            if mine != other:
                return f"{name} is {json.dumps(mine)} on node 0, and {json.dumps(other)} on node {number}: all train one model."
        return None


class Guest(Meeting):
    """Any other node."""

    _store: TCPStore | None = None
    _token = ""

    def look(self) -> tuple[str | None, str]:
        """The launch, once the host has answered. A host that is gone is looked for again: it may come back."""
        try:
            if self._store is None:
                self._greet()
            answer = self._answer()
        except (DistError, OSError):
            self._store = None
            return None, f"the first node to listen at {self._rendezvous.endpoint}"
        if answer is None:
            return None, f"all {self.nodes} nodes to come to {self._rendezvous.endpoint}"
        if answer["wrong"] is not None:
            raise Failure("input_invalid", answer["wrong"], place=Place(pointer=_POINTER))
        return str(answer["run"]), ""

    def leave(self) -> None:
        """Not to be counted on any more."""
        if self._store is not None:
            with suppress(DistError):
                self._store.delete_key(f"hello/{self.number}")

    def part(self, run_id: str, failure: Exception) -> None:
        """Leave the reason, and say that theirs, if there is one, was heard."""
        assert self._store is not None
        leave_word(PrefixStore(run_id, self._store), self.number, failure)
        self._store.set(f"{run_id}/left/{self.number}", "")

    def _greet(self) -> None:
        # Torch's own client would try for seconds, deaf to a request to stop.
        socket.create_connection((self.host, self.port), timeout=1.0).close()
        self._store, self._token = self.connect(is_master=False), uuid.uuid4().hex
        self._store.set(f"hello/{self.number}", json.dumps({"token": self._token, "card": self.card}))

    def _answer(self) -> dict[str, Any] | None:
        assert self._store is not None
        key = f"answer/{self._token}"
        if not self._store.check([key]):
            return None
        answer: dict[str, Any] = json.loads(self._store.get(key))
        self._store.set(f"read/{self._token}", "")
        return answer


def _card(assignment: Assignment) -> dict[str, Any]:
    """What all nodes of a run have in common, flat: ``trainingConfig.learningRate`` -> 0.1."""
    request = assignment.request.given()
    card: dict[str, Any] = {"modelPath (SHA-256)": assignment.model_sha256}
    for section in _COMPARED:
        values = request.get(section, {})
        assert isinstance(values, dict)
        card |= {f"{section}.{name}": value for name, value in values.items() if name not in _OWN.get(section, ())}
    return card
