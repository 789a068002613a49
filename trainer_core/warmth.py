"""What a nursery loads before it forks workers, and whether it may fork at all."""

import ctypes
import gc
import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# What jobs of every kind import, the slow parts of which are torch (the first optimizer of a process imports torch._dynamo),
# pandas, scikit-learn and MLflow with its store.
MODULES = (
    "trainer_core.engines.native",
    "trainer_core.launch",
    "trainer_core.engines.sklearn",
    "trainer_core.worker",
    "trainer_core.data.tensors",
    "trainer_core.data.tables",
    "trainer_core.data.images",
    "trainer_core.data.datasets",
    "trainer_core.trackers.main",
    "sklearn.linear_model",
    "sklearn.ensemble",
)
TRACKER_MODULES = (
    "mlflow",
    "mlflow.entities",
    "mlflow.tracking.client",
    "mlflow.store.tracking.sqlalchemy_store",
)

# While these are loaded: no thread of Arrow's memory pool, and no word to anybody. torch reads once, then, what its C++ says:
# of forked ranks as little as of those that ``launch`` starts.
_WHILE_LOADING = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
}
_LONGEST_TRIAL_SECONDS = 60
_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20
_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/")


def warm_up(*, mlflow: bool) -> Iterator[str]:
    """Load everything, and take an optimizer step; says what comes next, so that a caller may leave in between."""
    os.environ.update(_WHILE_LOADING)
    for name in (*MODULES, *(TRACKER_MODULES if mlflow else ())):
        yield name
        importlib.import_module(name)
    from trainer_core.worker import versions

    versions()
    for name in _WHILE_LOADING:
        del os.environ[name]
    yield "a step"
    _step(backward=False)
    yield "a trial"


def unfit() -> str | None:
    """Why this process must not fork workers; None when it may. A child takes a whole training step to find out."""
    if (trouble := _trial()) is not None:
        return trouble
    # A library's threads do not live on in a child, and what they held stays locked. Forking ended the pools of OpenBLAS.
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"it has {threads} threads"
    if device := next((path for path in _open_files() if path.startswith(_DEVICES)), None):
        return f"it has opened {device}, and a child cannot use a device that its parent has begun with"
    return None


def settle() -> None:
    """Make forking cheap, in this process and in its children: what is loaded stays as it is.

    Collectors do not look at it again, which would copy it; and its memory is put into large pages, of which a fork copies
    the table in a third of the time (4 instead of 12 ms, three times for each worker). Where the kernel does not do that
    (before Linux 6.1, or without huge pages) all is as it was.
    """
    gc.collect()
    gc.freeze()
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        area, rights, _, _, file, *_ = line.split()
        begin, end = (int(address, 16) for address in area.split("-"))
        if rights == "rw-p" and file == "0" and end - begin >= _HUGE_PAGE:
            advise(begin, end - begin, _MADV_COLLAPSE)


def _trial() -> str | None:
    child = os.fork()
    if not child:
        signal.alarm(_LONGEST_TRIAL_SECONDS)
        _step(backward=True)
        _use_all_threads()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == 0 else f"a trial worker ended with status {status}"


def _step(*, backward: bool) -> None:
    """An optimizer step of a tiny model. Generators, number of threads and environment are afterwards as they were.

    Without ``backward`` the gradients are given: the first backward pass of a process counts its devices and starts a
    thread for each, which no child could use.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    threads, environment = torch.get_num_threads(), dict(os.environ)
    if not backward:
        torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        for optimizer in (torch.optim.AdamW(model.parameters(), fused=True), torch.optim.SGD(model.parameters())):
            loss = functional.cross_entropy(model(torch.zeros(2, 4)), torch.zeros(2, dtype=torch.long))
            for parameter in () if backward else model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            if backward:
                torch.autograd.backward(loss)
            optimizer.step()
    torch.set_num_threads(threads)
    # torch notes where compiled code goes; a worker may have a temporary folder of its own.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]


def _use_all_threads() -> None:
    import torch

    torch.ones(512, 512).exp()


def _open_files() -> Iterator[str]:
    for entry in os.scandir("/proc/self/fd"):
        try:
            yield os.readlink(entry.path)
        except FileNotFoundError:  # the listing's own
            continue
