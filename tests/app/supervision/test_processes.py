"""Processes as the kernel shows them: also those that are just being started."""

import subprocess
import sys

from app.supervision.processes import is_marked, marked

WAITS = [sys.executable, "-S", "-c", "input()"]


def test_a_process_is_found_by_its_mark_from_its_first_moment_on():
    """A program is started before it has its environment: most of these are looked at in between."""
    for number in range(50):
        with subprocess.Popen(WAITS, stdin=subprocess.PIPE, env={"MARK": str(number)}) as child:
            assert is_marked(child.pid, f"MARK={number}")
            assert not is_marked(child.pid, f"MARK={number + 1}")
            child.kill()


def test_one_that_has_ended_or_never_was_has_no_mark():
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE, env={"MARK": "here"}) as child:
        assert child.pid in marked("MARK=here")
    assert not is_marked(child.pid, "MARK=here")
    assert not is_marked(1 << 30, "MARK=here")
