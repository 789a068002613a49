"""Accept and Prefer, as the standards spell them."""

import pytest

from app.http.negotiation import choose, preference
from app.problems import Refusal

OFFERED = ("application/json", "text/event-stream")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("TEXT/*", "text/event-stream"),
        ("application/json;q=0.5, text/event-stream;q=0.9", "text/event-stream"),
        ("text/html, application/json;q=0.1", "application/json"),
        ("application/json;charset=utf-8", "application/json"),
    ],
)
def test_the_preferred_form_is_chosen(accept: str | None, chosen: str):
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "x" * 5000, ";;q=1"])
def test_what_is_not_offered_is_refused(accept: str):
    with pytest.raises(Refusal) as caught:
        choose(accept, OFFERED)
    assert caught.value.problem.status == 406


@pytest.mark.parametrize(
    ("prefer", "seconds", "applied"),
    [
        (None, 30, None),
        ("wait=5", 5, "wait=5"),
        ("respond-async, wait=5", 5, "wait=5"),
        ("respond-async", 0, "respond-async"),
        ("wait=99999", 600, "wait=600"),
        ("wait=-1", 30, None),
        ("handling=lenient; x=y", 30, None),
    ],
)
def test_a_wish_to_wait_is_bounded_and_said_back(prefer: str | None, seconds: int, applied: str | None):
    found = preference(prefer)
    assert (found.seconds, found.applied) == (seconds, applied)
