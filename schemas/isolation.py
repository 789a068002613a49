"""How far a worker is kept from the rest of the machine, and what it may take of it."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import Document

IsolationLevel = Literal["none", "guarded", "contained"]
# From the weakest on; each has all that the one before it has.
LEVELS: tuple[IsolationLevel, ...] = get_args(IsolationLevel)

DEFAULT_PROCESSES = 512
# Of one process on average: a numerical library has one for each core.
THREADS_PER_PROCESS = 32


def stricter(one: IsolationLevel, other: IsolationLevel | None) -> IsolationLevel:
    """The stronger of two levels."""
    return one if other is None else max(one, other, key=LEVELS.index)


class Bounds(Document):
    """What a job may take. Its warden looks several times a second, and ends a job that has more."""

    memory_bytes: Annotated[int | None, Field(description="Resident memory of all its processes.")] = None
    processes: Annotated[int | None, Field(description="Processes at once; as many threads as 32 for each.")] = None
    disk_bytes: Annotated[int | None, Field(description="Bytes on disk of the attempt's folder and the run's.")] = None


class Isolation(Document):
    """The level in force, and what it consists of on this machine."""

    level: IsolationLevel
    parts: Annotated[list[str], Field(description="What holds: no_new_privileges, landlock ...")] = Field(
        default_factory=list
    )
    missing: Annotated[list[str], Field(description="What this machine cannot give, and why.")] = Field(
        default_factory=list
    )
