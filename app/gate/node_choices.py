"""What a run on several machines wants said, and what does not go with it."""

from collections.abc import Iterator
from typing import Any

from app.gate.patches import Path, look, replace
from app.gate.request_errors import named, said, wrong
from schemas.problems import RequestError

_NODES: Path = ("trainingConfig", "numNodes")
_MEETING: Path = ("trainingConfig", "rendezvous")
_RANK: Path = (*_MEETING, "nodeRank")


def node_errors(document: dict[str, Any]) -> Iterator[RequestError]:
    """Machines that nobody tells where to meet, a number that is none of theirs, and strategies of one process."""
    nodes = _number(look(document, _NODES, 1))
    if nodes < 2:
        return
    rank = _number(look(document, _RANK))
    if look(document, _MEETING) is None:
        message = (
            f"{named(_NODES)} is {nodes}, and there is no {named(_MEETING)}; say where the machines meet "
            '({"endpoint": "host:port", "nodeRank": 0}), or train on one.'
        )
        yield wrong(_MEETING, "required", message, expected="where the machines meet", fix=[replace(_NODES, 1)])
    elif rank >= nodes:
        message = f"{named(_RANK)} is {rank}, but {named(_NODES)} is {nodes}: they are numbered from 0 to {nodes - 1}."
        yield wrong(
            _RANK, "conflict", message, got=rank, expected=f"at most {nodes - 1}", fix=[replace(_NODES, rank + 1)]
        )
    strategy = look(document, ("trainingConfig", "strategy"))
    if strategy in ("single", "dp"):
        path: Path = ("trainingConfig", "strategy")
        message = f"{named(path)} is {said(strategy)}, which is one process, but {named(_NODES)} is {nodes}."
        allowed = ["auto", "ddp", "fsdp"]
        yield wrong(
            path, "conflict", message, got=strategy, allowed=allowed, suggestion="auto", fix=[replace(path, "auto")]
        )


def _number(value: Any) -> int:
    """The whole number that stands there; 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
