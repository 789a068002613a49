"""What is exported: the model of the checkpoint, built again on the CPU, and samples to try it with."""

import pickle
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainer_core.checkpoints.artifacts import WEIGHTS_FILE
from trainer_core.checkpoints.manifest import Manifest, verify
from trainer_core.checkpoints.snapshot import load_model
from trainer_core.checkpoints.tensor_file import read_tensors
from trainer_core.export.messages import Work
from trainer_core.export.trial import Trial
from trainer_core.failure import Failure
from trainer_core.loop import randomness
from trainer_core.loop.material import make_ready
from trainer_core.loop.trees import call
from trainer_core.models.file import ModelFile
from trainer_core.models.user_code import running


class Subject:
    """The best weights and, built when a format first asks for it, their model.

    It is built from the model file, as the job's next attempt would: what training had put into it or around it (parts on
    several devices, compiled passes, activations that are computed again) is not there, and the weights are the average where
    the run kept one.
    """

    def __init__(self, work: Work, samples: bytes) -> None:
        self._assignment = work.assignment
        self._checkpoint = Path(work.checkpoint)
        self._samples = samples

    @cached_property
    def manifest(self) -> Manifest:
        """Of the checkpoint, all of whose files are as they were written. Raises Failure ``checkpoint_corrupt``."""
        return verify(self._checkpoint)

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return self.manifest.files[WEIGHTS_FILE].bytes

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the model's state, by name."""
        assert self.manifest
        return read_tensors(self._checkpoint / WEIGHTS_FILE)

    @cached_property
    def model(self) -> nn.Module:
        """The model with these weights, in evaluation mode. Raises Failure for a model file that builds another one by now."""
        state, request = load_model(self._checkpoint, self.manifest), self._assignment.request
        randomness.seed_everything(request.training_config.seed)
        model: nn.Module = self._file.build(request.model_settings, nn.Module)
        make_ready(model, self._file.path, torch.device("cpu"))
        model.eval()
        if any(is_lazy(value) for value in model.state_dict(keep_vars=True).values()):
            with torch.no_grad(), running(self._file.path, "model_invalid", "running the model"):
                call(model, self.trials[0].inputs)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            message = (
                "The model file builds another model than the one that was trained: it does not take the weights back."
            )
            raise Failure("export_failed", message, detail=str(error)) from error
        return model

    @cached_property
    def trials(self) -> list[Trial]:
        """Batches of the data; the first is what a program is made of."""
        assert self._file
        trials: list[Trial] = pickle.loads(self._samples)
        return trials

    def run(self, inputs: Any) -> Any:
        """What the model gives for ``inputs``; random numbers are drawn as after ``seed``. Raises Failure ``model_invalid``."""
        self.seed()
        with running(self._file.path, "model_invalid", "running the model"):
            return call(self.model, inputs)

    def seed(self, further: int = 0) -> None:
        """What draws random numbers now draws the same each time, others with each ``further``."""
        randomness.seed_everything(self._assignment.request.training_config.seed + further)

    @cached_property
    def _file(self) -> ModelFile:
        return ModelFile.load(self._assignment)
