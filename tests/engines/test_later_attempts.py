"""A later attempt goes on from what the job itself has saved, and begins anew where that is of no use, and says so."""

from pathlib import Path

import pytest

from schemas.assignment import Assignment
from schemas.events import Alert, RunRestored
from trainer_core.channel import Channel
from trainer_core.failure import Failure
from trainer_core.stop import Stop
from trainer_core.worker import train

SGD = "from sklearn.linear_model import SGDClassifier\nmodel = SGDClassifier(loss='log_loss')\n"
FOREST = "from sklearn.tree import DecisionTreeClassifier\nmodel = DecisionTreeClassifier()\n"


def attempts(workspace, name: str, model: str) -> tuple[Assignment, Assignment]:
    """The assignments of a first attempt, which is carried out, and of the one after it."""
    target = {"target": "target"}
    first = workspace.assign(name, "sklearn", model, "iris.csv", dataConfig=target, trainingConfig={"epochs": 2})
    assert train(first, Channel(), Stop()).state == "succeeded"
    return first, first.model_copy(update={"attempt": 2, "go_on": True})


def said(channel: Channel, kind: type) -> list:
    return [data for data in channel.said if isinstance(data, kind)]


def test_a_later_attempt_goes_on_and_says_from_where(workspace):
    first, later = attempts(workspace, "goes_on", SGD)
    channel = Channel()
    assert train(later, channel, Stop()).state == "succeeded"
    [restored] = said(channel, RunRestored)
    assert Path(restored.path).parent == Path(first.run_folder)
    assert restored.epoch == 2


@pytest.mark.parametrize("model", [FOREST, SGD], ids=["one fit", "damaged"])
def test_where_it_cannot_go_on_it_begins_anew(workspace, model: str):
    first, later = attempts(workspace, "anew_one" if model == FOREST else "anew_damaged", model)
    for manifest in Path(first.run_folder).glob("*/manifest.json") if model == SGD else ():
        for file in manifest.parent.glob("*.skops"):
            file.write_bytes(b"")
    channel = Channel()
    assert train(later, channel, Stop()).state == "succeeded"
    assert said(channel, RunRestored) == []
    assert "began_anew" in [alert.code for alert in said(channel, Alert)]


def test_a_checkpoint_of_another_model_is_no_reason_to_throw_it_away(workspace):
    _, later = attempts(workspace, "another", SGD)
    Path(later.model_snapshot).write_text(SGD.replace("log_loss", "hinge"))
    with pytest.raises(Failure, match="of another model"):
        train(later, Channel(), Stop())
