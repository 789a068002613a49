"""What the service and its nursery say to each other: whole messages on Unix sockets (``SOCK_SEQPACKET``).

On the nursery's own socket it says ``READY`` or ``UNFIT``, and takes a ``Birth`` with three open files: the job's lock,
the worker's log, and a line of the worker's own. On that line it answers with ``Born`` and the open process (pidfd) of a
worker that waits for ``BEGIN``, and when that worker has ended with ``Ended``. The ended process keeps its number until
the service closes the line. Where a socket closes, the other side is gone.
"""

from typing import Annotated

from pydantic import Field

from schemas.base import Document

READY = b"ready"
UNFIT = b"unfit"
BEGIN = b"begin"

MARK = "PYTORCH_TRAINER_ATTEMPT"
"""Variable in the environment of every process of an attempt: the attempt's folder."""

# Those that may differ from job to job: no library reads them while it is loaded, or ``trainer_core.birth`` sees to it.
OWN_VARIABLES = frozenset({MARK, "CUDA_VISIBLE_DEVICES", "TMPDIR"})

LONGEST_MESSAGE = 1 << 18


class Birth(Document):
    """A worker is wanted for the attempt in this folder, with this environment and no other."""

    attempt_folder: str
    environment: dict[str, str]


class Born(Document):
    """A worker waits, or why there is none: then it has to be started as a program."""

    pid: int | None = None
    refusal: str | None = None


class Ended(Document):
    """How a worker has ended."""

    status: Annotated[int, Field(description="Exit status, or minus the number of a signal.")]
