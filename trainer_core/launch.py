"""The ranks of this machine, one process each, through torch's elastic launcher."""

import math
import multiprocessing
import os
import signal
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from types import FrameType
from typing import Any, TypeVar

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trainer_core.failure import Failure
from trainer_core.leaving import die_with
from trainer_core.loop.ranks import is_lost_peer
from trainer_core.nodes.meeting import Launch
from trainer_core.nodes.word import hear, tell
from trainer_core.stop import Stop

T = TypeVar("T")

_RENDEZVOUS_SECONDS = 120
# Characters of a failure, each of four bytes at most; a pipe holds 65,536 bytes.
_LONGEST = 8192


class SharedStop(Stop):
    """A request to stop that every rank sees at once: a byte in memory that launcher and ranks share."""

    def __init__(self, flag: Any) -> None:
        self._flag = flag

    @property
    def requested(self) -> bool:
        """Whether anyone was asked to stop."""
        return bool(self._flag.value)

    @requested.setter
    def requested(self, value: bool) -> None:
        self._flag.value = value


def launch(
    ranks: int,
    function: Callable[..., T],
    *arguments: object,
    stop: Stop,
    agreed: Launch | None = None,
    on_cpus: bool = False,
) -> T:
    """Call ``function(*arguments, stop)`` in ``ranks`` processes; what the first of them returns. With other nodes their
    processes are of the same group, in the launch that was ``agreed`` on. Ranks ``on_cpus`` are forked from this process where
    it has one thread, and then need not import anything; others are programs of their own.

    Each process finds ``RANK``, ``WORLD_SIZE`` and the address of its group in its environment, as torch's
    ``init_process_group`` reads them. When one fails the others are ended, and the first ``Failure`` (or OSError, or
    MemoryError) that a rank raised is raised here; ``worker_lost`` when a rank ended without a word. SIGTERM to this process asks all ranks to stop. A rank never
    outlives this process, and is never restarted: a run is resumed from its checkpoint, as a whole. What ends a rank of
    another node is raised here as well, or ``worker_lost`` where that node is gone; ``rendezvous_failed`` when it never began.
    """
    # Threads do not live on in a child, and what they held stays locked; nor does a GPU that this process has looked at.
    method = "fork" if on_cpus and len(os.listdir("/proc/self/task")) == 1 else "spawn"
    context = multiprocessing.get_context(method)
    flag = context.RawValue("b", stop.requested)
    failures = context.SimpleQueue()
    # Gradients of unused parameters are looked for in every step, and torch warns of the cost at each one's first.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with _passing_on(stop, flag):
            results: dict[int, T] = elastic_launch(_config(ranks, agreed, method), _rank)(
                function, arguments, flag, failures, os.getpid()
            )
    except ChildFailedError as error:
        if not failures.empty():
            raise failures.get() from None
        raise _lost(error, agreed) from None
    except DistError as error:
        if agreed is None:
            raise
        raise _never_began(agreed, error) from error
    # By rank, and the first of this node is not the first of all.
    return results[min(results)]


def _config(ranks: int, agreed: Launch | None, method: str) -> LaunchConfig:
    """One node of ``ranks`` processes, met on a port of the loopback that the system chooses; or one of several. They start
    by this ``method`` of multiprocessing."""
    several = {} if agreed is None else {"timeout": math.ceil(agreed.seconds), "rank": agreed.number}
    nodes = 1 if agreed is None else agreed.nodes
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex if agreed is None else agreed.run_id,
        rdzv_backend="c10d" if agreed is None else "static",
        rdzv_endpoint="localhost:0" if agreed is None else agreed.endpoint,
        rdzv_configs=several or {"timeout": _RENDEZVOUS_SECONDS},
        local_addr="localhost" if agreed is None else None,
        max_restarts=0,
        monitor_interval=0.05,
        start_method=method,
        # torch would answer SIGTERM by raising, and then wait for ranks that wait for it. Ours only asks them to stop.
        signals_to_handle="SIGQUIT",
    )


@contextmanager
def _passing_on(stop: Stop, flag: Any) -> Iterator[None]:
    """SIGTERM to this process asks all ranks to stop; afterwards signals mean what they meant before."""

    def ask_all(_number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        flag.value = 1

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGQUIT)}
    signal.signal(signal.SIGTERM, ask_all)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _lost(error: ChildFailedError, agreed: Launch | None) -> Failure:
    """The failure of a rank that ended without a word: by a signal, or by ``os._exit``. Where all of this node only miss
    somebody, it is another node."""
    rank, failed = error.get_first_failure()
    if agreed is not None and all(one.exitcode == 1 for one in error.failures.values()):
        return Failure(
            "worker_lost",
            f"Node {agreed.number} has lost another node of the run: it does not answer, and has not said why.",
            next_move="Look at the job on the other nodes; the first one keeps the checkpoints.",
            detail=str(error),
        )
    how = f"by {failed.signal_name()}" if failed.exitcode < 0 else f"with status {failed.exitcode}"
    return Failure(
        "worker_lost",
        f"A rank of the run was lost; the first that was missed is rank {rank}, which ended {how}.",
        next_move="Read the log for the cause: a crash in the model's own code, or the kernel's answer to a want of memory.",
        detail=str(error),
    )


def _never_began(agreed: Launch, error: Exception) -> Failure:
    return Failure(
        "rendezvous_failed",
        f"All {agreed.nodes} nodes had come to {agreed.endpoint}, and then one of them did not begin.",
        detail=str(error),
    )


def _rank(
    function: Callable[..., T], arguments: tuple[object, ...], flag: Any, failures: SimpleQueue, launcher: int
) -> T:
    """One rank, from its first breath: what cannot be said through torch's error file goes through ``failures``."""
    die_with(launcher)
    stop = SharedStop(flag)
    stop.listen()
    try:
        return function(*arguments, stop)
    except (Failure, OSError, MemoryError) as failure:
        tell(failure)
        _put(failures, failure)
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is not None:
            _put(failures, reason)
        raise


def _put(failures: SimpleQueue, failure: BaseException) -> None:
    """Have the launcher raise ``failure``, unless it has another rank's. Nobody reads the pipe before all ranks have ended, and
    who puts more into it than it holds never ends."""
    if failures.empty():
        failures.put(failure.cut(_LONGEST) if type(failure) is Failure else failure)


def _reason(error: Exception) -> BaseException | None:
    """Why a rank ends that did not foresee ``error``. That another rank is gone is no cause: its own failure is, or the
    launcher's word that it was lost."""
    if is_lost_peer(error):
        return hear()
    message = f"A rank met an unexpected {type(error).__name__}."
    failure = Failure("internal", message, detail=traceback.format_exc())
    tell(failure)
    return failure
