"""Several machines for one run: where they meet, and which of them this one is."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from schemas.base import Document

_ENDPOINT = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}$"


class Rendezvous(Document):
    """Where the nodes of a run meet, and which of them this one is."""

    endpoint: Annotated[
        str,
        Field(
            pattern=_ENDPOINT,
            max_length=300,
            description="host:port of the first node, which listens there while the job runs; all others must reach it.",
        ),
    ]
    node_rank: Annotated[
        int, Field(ge=0, le=1023, description="This node's number. Node 0 is the first: it writes the checkpoints.")
    ]
    timeout_seconds: Annotated[
        float,
        Field(ge=1, le=86400, description="Longest wait for the other nodes; then the job fails (rendezvous_failed)."),
    ] = 300.0
    lost_after_seconds: Annotated[
        float,
        Field(
            ge=1,
            le=86400,
            description="A node that the others have waited for so long is lost (worker_lost). Longer than reading the data, "
            "compiling, an evaluation or a save takes.",
        ),
    ] = 600.0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.endpoint.rpartition(":")
        return host.strip("[]"), int(port)


def node_rank_of(request: Mapping[str, Any]) -> int:
    """The number of the node that ``request`` (JSON, valid) is for; 0 for a run on one machine."""
    training = request.get("trainingConfig", {})
    if training.get("numNodes", 1) == 1:
        return 0
    return int(training["rendezvous"]["nodeRank"])
