"""Deterministic mode: what is set, and what is said of an operation without such a form."""

import os

import pytest
import torch

from schemas.problems import PatchOperation
from trainer_core.failure import Failure
from trainer_core.loop.preparing import determinism

SCATTERING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        torch.zeros(4).put_(torch.tensor([1, 1]), torch.ones(2))
        return self.head(x)
"""


def test_what_is_set():
    determinism.settle(False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    determinism.settle(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_an_operation_without_a_deterministic_form_is_named_with_its_line_and_a_fix(bench):
    bench.write_model(SCATTERING)
    assert bench.train("free", trainingConfig={"epochs": 1}).ending.state == "succeeded"
    with pytest.raises(Failure) as caught:
        bench.train("strict", trainingConfig={"epochs": 1, "deterministic": True})
    error = caught.value.error
    assert error.message.startswith("put_ has no form that gives the same bits every time")
    assert (error.place.line, error.place.pointer) == (11, "/trainingConfig/deterministic")
    assert error.fix == [PatchOperation(op="replace", path="/trainingConfig/deterministic", value=False)]


def test_what_torch_says_of_cublas_is_understood():
    failure = Failure("model_invalid", "RuntimeError while running the model.")
    failure.__cause__ = RuntimeError(
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or `at::Context::"
        "setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses CuBLAS and you have "
        "CUDA >= 10.2. To enable deterministic behavior in this case, you must set an environment variable before running "
        "your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or CUBLAS_WORKSPACE_CONFIG=:16:8."
    )
    told = determinism.without_deterministic_form(failure)
    assert told is not None
    assert told.error.message.startswith("A matrix product of cuBLAS")
    failure.__cause__ = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert determinism.without_deterministic_form(failure) is None


def test_a_run_in_deterministic_mode(bench):
    run = bench.train(trainingConfig={"epochs": 1, "deterministic": True})
    assert run.ending.state == "succeeded"
