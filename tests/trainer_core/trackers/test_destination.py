"""Which MLflow store a run goes to, and what is said of it."""

import pytest

from trainer_core.trackers.destination import Destination, find_destination, without_credentials


def test_off_is_off(make_attempt):
    assert find_destination(make_attempt(None).assignment) is None
    assert find_destination(make_attempt("sqlite:////m.db", job_id="b", mlflow=False).assignment) is None


def test_the_request_s_own_store_comes_first_and_its_paths_are_the_workspace_s(make_attempt, tmp_path):
    attempt = make_attempt("sqlite:////service.db", mlflow={"trackingUri": "sqlite:///own.db"}, experiment="e")
    destination = find_destination(attempt.assignment)
    assert destination == Destination(f"sqlite:///{tmp_path}/own.db", "e", "job-1")
    assert destination.database == tmp_path / "own.db"
    assert find_destination(make_attempt("sqlite:////m.db", job_id="b").assignment).uri == "sqlite:////m.db"


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("http://u:pass@host:5000/x", "http://host:5000/x"),
        ("postgresql://u:p@ss@host/db?password=pass", "postgresql://host/db"),
        ("sqlite:////home/m.db", "sqlite:////home/m.db"),
    ],
)
def test_user_password_and_query_are_never_reported(uri, public):
    tracking = Destination(uri, "e", "r").tracking(f"no answer from {uri} and http://u:pass@other/x")
    assert tracking.tracking_uri == public
    assert tracking.message == f"no answer from {public} and http://other/x"


def test_text_without_addresses_is_left_alone():
    assert without_credentials("a@b: https://host/path@2") == "a@b: https://host/path@2"
