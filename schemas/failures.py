"""Why a run fails: stable codes, each with what to do next."""

from dataclasses import dataclass
from typing import Literal

FailureCode = Literal[
    "input_invalid",
    "model_import_failed",
    "model_invalid",
    "data_not_found",
    "data_empty",
    "data_unreadable",
    "data_column_missing",
    "data_not_finite",
    "data_single_class",
    "data_invalid",
    "checkpoint_incompatible",
    "checkpoint_corrupt",
    "out_of_memory",
    "diverged",
    "timeout",
    "disk_full",
    "hung",
    "worker_lost",
    "rendezvous_failed",
    "device_unavailable",
    "quota_exceeded",
    "isolation_unavailable",
    "cancelled",
    "export_failed",
    "internal",
]

Recovery = Literal["retry_unchanged", "modify_and_retry", "ask_owner", "use_other_operation"]


@dataclass(frozen=True)
class FailureEntry:
    """What a caller may do about one failure code."""

    retryable: bool
    recovery: Recovery
    next_move: str


FAILURES: dict[FailureCode, FailureEntry] = {
    "input_invalid": FailureEntry(
        False, "modify_and_retry", "Change the named property as the message says and submit again."
    ),
    "model_import_failed": FailureEntry(
        False, "modify_and_retry", "Mend the model file at the named line and submit again."
    ),
    "model_invalid": FailureEntry(
        False, "modify_and_retry", "Make the model file define what the message asks for, or set modelConfig."
    ),
    "data_not_found": FailureEntry(
        False, "modify_and_retry", "Correct the path; it is taken relative to the workspace."
    ),
    "data_empty": FailureEntry(
        False, "modify_and_retry", "Name data that hold samples: the path is right, and nothing is in it."
    ),
    "data_unreadable": FailureEntry(
        False, "modify_and_retry", "Replace or remove the named file, or mend the named line."
    ),
    "data_column_missing": FailureEntry(
        False, "modify_and_retry", "Name columns (or arrays) that are there: the message lists them."
    ),
    "data_not_finite": FailureEntry(
        False,
        "modify_and_retry",
        "Fill or drop the rows with a missing target, NaN or infinity, from the named one on.",
    ),
    "data_single_class": FailureEntry(
        False, "modify_and_retry", "Give samples of at least two classes, or choose another dataConfig.target."
    ),
    "data_invalid": FailureEntry(
        False, "modify_and_retry", "Mend the data at the named place, or choose other columns."
    ),
    "checkpoint_incompatible": FailureEntry(
        False, "modify_and_retry", "Resume with the model that wrote the checkpoint, or drop resumeFrom."
    ),
    "checkpoint_corrupt": FailureEntry(
        False, "modify_and_retry", "Resume from another checkpoint of the run, or drop resumeFrom."
    ),
    "out_of_memory": FailureEntry(
        False, "modify_and_retry", "Halve batchSize and double gradientAccumulation: the same training in less memory."
    ),
    "diverged": FailureEntry(
        False,
        "modify_and_retry",
        "Lower learningRate (try a tenth), keep gradientClipping, check the data for extreme values.",
    ),
    "timeout": FailureEntry(
        False,
        "modify_and_retry",
        "Raise limits.maxSeconds and set checkpointConfig.resumeFrom to the run's folder (it holds checkpointPath).",
    ),
    "disk_full": FailureEntry(
        True,
        "ask_owner",
        "Free disk space, then submit again with resumeFrom set to the run's folder (it holds checkpointPath).",
    ),
    "hung": FailureEntry(
        True, "retry_unchanged", "Submit again with resumeFrom set to the run's folder (it holds checkpointPath)."
    ),
    "worker_lost": FailureEntry(
        True,
        "retry_unchanged",
        "Submit again with resumeFrom set to the run's folder (it holds checkpointPath); read the log for the cause.",
    ),
    "rendezvous_failed": FailureEntry(
        True,
        "retry_unchanged",
        "Submit the job on all nodes within rendezvous.timeoutSeconds of each other; each must reach rendezvous.endpoint.",
    ),
    "device_unavailable": FailureEntry(True, "modify_and_retry", "Ask for fewer devices, or wait until they are free."),
    "quota_exceeded": FailureEntry(
        True, "ask_owner", "Wait for running jobs to end, or ask the owner to raise the limit."
    ),
    "isolation_unavailable": FailureEntry(
        False, "ask_owner", "Have the owner install what is missing, or ask for a weaker resources.isolation."
    ),
    "cancelled": FailureEntry(
        False,
        "use_other_operation",
        "Resume with resumeFrom set to the run's folder (it holds checkpointPath), if one was saved.",
    ),
    "export_failed": FailureEntry(
        False,
        "modify_and_retry",
        "Mend what the message names, then submit again with resumeFrom set to the run's folder: nothing is trained again.",
    ),
    "internal": FailureEntry(True, "ask_owner", "Report the message and the job's log."),
}
