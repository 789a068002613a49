"""Whether a failed attempt is followed by another one: by the class of the failure, a number of times, if it may help."""

from dataclasses import dataclass

from app.clock import seconds_until
from app.supervision.history import History
from schemas.assignment import Outcome
from schemas.failures import FailureCode

# Losses that the next attempt need not meet. What is wrong with a request, the data or the model would be wrong again,
# and so would a want of memory; a full disk and a divergence need somebody's decision.
RETRIED: frozenset[FailureCode] = frozenset({"worker_lost", "hung"})

LONGEST_REST_SECONDS = 60.0
_FACTOR = 4.0


@dataclass(frozen=True)
class Retry:
    """Another attempt, after a rest, from the job's newest checkpoint or anew."""

    after_seconds: float
    from_checkpoint: str | None


def rest_left(rests_until: str) -> float:
    """Seconds that are left of a rest, to a service that starts; never more than the longest, wherever the clock went."""
    return max(0.0, min(LONGEST_REST_SECONDS, seconds_until(rests_until)))


def retry_of(
    outcome: Outcome,
    history: History,
    *,
    attempt: int,
    max_attempts: int,
    rest_seconds: float,
    keeps: bool = True,
) -> Retry | None:
    """The attempt that follows ``attempt``, which ended with ``outcome``; None when that is the job's end.

    The first loss may be an accident. After that an attempt must have come further: it has saved a checkpoint. A node of a
    run whose first node ``keeps`` them cannot tell; where that one has given up nobody meets it again.
    """
    if outcome.error is None or outcome.error.code not in RETRIED or history.lost + 1 >= max_attempts:
        return None
    if keeps and history.lost and history.saved_in != attempt:
        return None
    return Retry(min(LONGEST_REST_SECONDS, rest_seconds * _FACTOR**history.lost), history.checkpoint)
