"""A loader process that died is noticed wherever torch's signal handler happened to say so."""

import pytest

from trainer_core.failure import Failure
from trainer_core.loop.sources import telling_lost_loaders
from trainer_core.lost_loader import lost_loader


def raised_in_user_code() -> Failure:
    """The failure that a model's forward pass seems to have, when the handler raises in the middle of it."""
    try:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        except RuntimeError as error:
            raise Failure("model_invalid", "The model's forward pass failed.") from error
    except Failure as failure:
        return failure


def test_a_lost_loader_is_found_behind_what_it_led_to():
    found = lost_loader(raised_in_user_code())
    assert found is not None
    assert found.error.code == "worker_lost"
    assert found.error.place is not None
    assert found.error.place.pointer == "/dataConfig/numWorkers"


def test_what_is_wrong_for_another_reason_stays_so():
    assert lost_loader(Failure("model_invalid", "It is.")) is None
    assert lost_loader(RuntimeError("CUDA error")) is None


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), ConnectionRefusedError(), EOFError()]
)
def test_a_loader_that_died_while_it_sent_a_tensor(error: Exception):
    with pytest.raises(Failure) as caught, telling_lost_loaders():
        raise error
    assert caught.value.error.code == "worker_lost"
