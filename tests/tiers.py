"""The two tiers of the tests that torture: the small one belongs to ``make test``, the large one is ``make torture``."""

import os

LARGE = os.environ.get("PT_TORTURE") == "large"


def rounds(small: int, large: int) -> int:
    """How often a test does what it does, in the tier that runs."""
    return large if LARGE else small
