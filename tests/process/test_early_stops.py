"""A worker that is asked to stop before it has begun obeys, and is not lost."""

from pathlib import Path

from app.supervision.nursery import NoNursery
from tests.process.real_worker import has_ended, prepare, started

MODEL = "from sklearn.linear_model import LogisticRegression\n\n\ndef build_model():\n    return LogisticRegression()\n"


def test_one_that_is_asked_at_once(tmp_path: Path, either: NoNursery):
    attempt = prepare(tmp_path, MODEL)
    with started(attempt, either) as worker:
        worker.ask_to_stop()
        assert has_ended(worker.pid)
        assert worker.clear() == 0
    outcome = attempt.outcome()
    assert outcome is not None
    assert outcome.state == "cancelled"


def test_one_that_is_asked_while_it_imports(tmp_path: Path):
    """A library that takes for ever stands in for one that takes seconds."""
    attempt = prepare(tmp_path, MODEL)
    gate = tmp_path / "library" / "sklearn"
    gate.mkdir(parents=True)
    (gate / "__init__.py").write_text("import signal\nprint('imported', flush=True)\nwhile True: signal.pause()\n")
    with started(attempt, PYTHONPATH=str(gate.parent)) as worker:
        while "imported" not in attempt.log.read_text():
            assert not has_ended(worker.pid, 20)
        worker.ask_to_stop()
        assert has_ended(worker.pid)
    outcome = attempt.outcome()
    assert outcome is not None
    assert outcome.state == "cancelled"
