"""Text from user code is shown capped and without anything that acts on a terminal or reorders text."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.text import UNTRUSTED_LIMIT, untrusted


def test_escape_sequences_and_bidi_controls_are_gone():
    assert untrusted("\x1b[31mred\x1b[0m \x1b]0;title\x07ok \u202eevil\u2066 a\x00b\rc") == "red ok evil abc"


def test_lines_and_tabs_stay():
    assert untrusted("a\n\tb") == "a\n\tb"


def test_the_end_is_kept():
    text = untrusted("x" * 5000 + "ValueError: cause")
    assert len(text) == UNTRUSTED_LIMIT
    assert text.endswith("ValueError: cause")


@given(st.text(max_size=4000))
def test_whatever_comes_it_is_short_and_encodable(text):
    clean = untrusted(text)
    assert len(clean) <= UNTRUSTED_LIMIT
    clean.encode("utf-8")
    assert "\x1b" not in clean
