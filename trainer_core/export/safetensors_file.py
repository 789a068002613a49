"""The model's state alone, in the safetensors format."""

from pathlib import Path

from trainer_core.checkpoints.tensor_file import write_tensors
from trainer_core.export.format import Facts, Say
from trainer_core.export.subject import Subject


def write(subject: Subject, path: Path, say: Say) -> Facts:
    """Write the tensors of the model's state; the metadata name the model's class, the job, epoch and step. Raises OSError."""
    say("writing")
    manifest = subject.manifest
    about = {"class": manifest.about["model"], "jobId": manifest.about["jobId"]}
    write_tensors(path, subject.tensors, about | {"epoch": str(manifest.epoch), "step": str(manifest.step)})
    return Facts()
