"""Server-sent events: the body is cut anywhere, the messages come out whole."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from app.cli.stream import Message, messages_of


def encoded(messages: list[Message]) -> bytes:
    return b"".join(f"id: {m.id}\nevent: {m.event}\ndata: {m.data}\n\n".encode() for m in messages)


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=10),
)
def test_every_message_arrives_whole_wherever_the_body_is_cut(texts: list[str], cuts: list[int]) -> None:
    # json.dumps leaves U+2028, U+0085 and other separators of lines inside its strings.
    sent = [Message(str(n), "step", json.dumps({"text": text}, ensure_ascii=False)) for n, text in enumerate(texts)]
    body = encoded(sent)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in itertools.pairwise(places)]
    assert list(messages_of(chunks)) == sent


def test_comments_and_carriage_returns_are_no_part_of_a_message() -> None:
    body = [b": keep-alive\r\n\r\nid: 7\r\nevent: step\r\ndata: {}\r\n\r\n"]
    assert list(messages_of(body)) == [Message("7", "step", "{}")]


def test_lines_of_data_are_joined_and_a_message_cut_off_is_dropped() -> None:
    assert list(messages_of([b"data: [1,\ndata: 2]\n\ndata: half"])) == [Message("", "message", "[1,\n2]")]
