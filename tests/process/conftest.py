"""What the tests of whole processes share."""

import pytest

from app.supervision.nursery import NO_NURSERY, NoNursery


@pytest.fixture(params=["cold", "warm"])
def either(request: pytest.FixtureRequest) -> NoNursery:
    """What a worker is forked from: nothing, or a nursery."""
    found: NoNursery = request.getfixturevalue("nursery") if request.param == "warm" else NO_NURSERY
    return found
