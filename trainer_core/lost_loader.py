"""A loader process that died: torch says so in the training process, wherever that is at the moment."""

from schemas.result import Place
from trainer_core.failure import Failure


def lost_loader(error: BaseException) -> Failure | None:
    """The Failure ``worker_lost`` that ``error``, or what led to it, stands for; None when it is something else.

    A process dies without a word by a crash in C or the kernel's killer. Torch raises from a signal handler: in the middle
    of the user's own code too, which then seems to have failed.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RuntimeError) and str(seen).startswith("DataLoader worker"):
            return lost(str(seen))
        seen = seen.__cause__ or seen.__context__
    return None


def lost(detail: str) -> Failure:
    """The failure itself."""
    return Failure(
        "worker_lost",
        "A loader process died while it read samples.",
        next_move="Set dataConfig.numWorkers to 0 to see where the data set crashes; give it fewer if memory ran out.",
        place=Place(pointer="/dataConfig/numWorkers"),
        detail=detail,
    )
