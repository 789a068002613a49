"""Checkpoints that do not fit the run that would go on from them: what differs is named."""

import pytest
import torch
from torch import nn

from trainer_core.checkpoints.snapshot import Snapshot
from trainer_core.failure import Failure
from trainer_core.loop.run_state import check_model


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (
            {"a": (2,), "b": (3, 1)},
            {"a": (2,), "b": (3, 2)},
            r"b is \[3, 1\] in the checkpoint and \[3, 2\] in the model",
        ),
        ({"a": (2,)}, {"a": (2,), "b": ()}, r"b is absent in the checkpoint and \[\] in the model"),
        ({"a": (2,), "b": (1,)}, {"a": (2,)}, r"b is \[1\] in the checkpoint and absent in the model"),
    ],
)
def test_the_first_parameter_that_differs_is_named(there, here, said):
    model = nn.ParameterDict({name: torch.ones(shape) for name, shape in here.items()})
    snapshot = Snapshot({name: torch.ones(shape) for name, shape in there.items()}, {}, {}, [])
    with pytest.raises(Failure, match=said):
        check_model(model, snapshot)


def test_a_checkpoint_of_other_trainable_parameters(bench):
    first = bench.train("first", trainingConfig={"epochs": 1})
    frozen, resume = {"freeze": ["0"]}, {"resumeFrom": str(first.run_folder)}
    with pytest.raises(Failure, match="a run with other trainable parameters or groups of them") as caught:
        bench.train("second", modelConfig=frozen, checkpointConfig=resume)
    assert caught.value.error.code == "checkpoint_incompatible"
    assert caught.value.error.next_move.startswith("Resume with the modelConfig.freeze and parameterGroups of the run")
