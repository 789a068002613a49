"""The word that a node which ends leaves for the others: why."""

import base64
import os
import pickle
from contextlib import suppress
from datetime import timedelta

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from trainer_core.failure import Failure

CONNECT = timedelta(seconds=5)
# How long a node waits to hear why another has ended, and how long one that has failed waits until all have heard.
HEAR_SECONDS = 3.0
_FAILURE = "failure"


def store_of_the_run() -> Store:
    """The store of this rank's launch, in a room of its own: an earlier launch may have used the same server. Raises
    ``DistError``."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False, timeout=CONNECT, wait_for_workers=False)
    return PrefixStore(os.environ["TORCHELASTIC_RUN_ID"], store)


def tell(failure: BaseException) -> None:
    """Leave word for the other nodes why this rank ends; the first one's word counts. Nothing to do on one node."""
    if _several():
        with suppress(DistError):
            leave_word(store_of_the_run(), int(os.environ["GROUP_RANK"]), failure)


def leave_word(store: Store, number: int, failure: BaseException) -> None:
    """Leave word in ``store`` why node ``number`` ends, unless somebody has. Raises ``DistError``."""
    store.compare_set(_FAILURE, "", base64.b64encode(pickle.dumps((number, failure))).decode())


def hear() -> BaseException | None:
    """What another node has told, within a moment; None when it told nothing: it is gone."""
    if not _several():
        return None
    try:
        store = store_of_the_run()
        store.wait([_FAILURE], timedelta(seconds=HEAR_SECONDS))
        number, failure = pickle.loads(base64.b64decode(store.get(_FAILURE)))
    except DistError:
        return None
    if type(failure) is Failure and number != int(os.environ["GROUP_RANK"]):
        message = f"On node {number}: {failure.error.message}"
        failure.error = failure.error.model_copy(update={"message": message})
    assert isinstance(failure, BaseException)
    return failure


def _several() -> bool:
    return int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
