"""Settings of the request that an estimator has no use for."""

from collections.abc import Iterable

from pydantic import BaseModel

from schemas.events import Alert
from schemas.request import TrainingRequest

_TRAINING = (
    "learning_rate",
    "optimizer",
    "optimizer_args",
    "weight_decay",
    "scheduler",
    "scheduler_args",
    "warmup_steps",
    "warmup_ratio",
    "mixed_precision",
    "precision",
    "gradient_clipping",
    "clip_by",
    "gradient_accumulation",
    "loss",
    "loss_args",
    "label_smoothing",
    "max_steps",
    "strategy",
    "devices",
    "report_every_seconds",
)
_DATA = ("batch_size", "num_workers", "eval_batch_size")
_CHECKPOINT = ("save_every_steps",)
_TRAINING_BY_EPOCHS = ("epochs", "early_stopping")
_DATA_BY_EPOCHS = ("shuffle",)


def find_ignored(request: TrainingRequest, name: str, iterative: bool, has_own_loss: bool) -> list[Alert]:
    """One warning that lists what was asked for (that is, differs from the default) and has no effect on ``name``."""
    by_epochs = not iterative
    ignored = [
        *_set(request.training_config, "trainingConfig", [*_TRAINING, *(_TRAINING_BY_EPOCHS if by_epochs else ())]),
        *_set(request.data_config, "dataConfig", [*_DATA, *(_DATA_BY_EPOCHS if by_epochs else ())]),
        *_set(request.checkpoint_config, "checkpointConfig", _CHECKPOINT),
        *(["loss of the model file"] if has_own_loss else []),
    ]
    if not ignored:
        return []
    how = "partial_fit, once per epoch" if iterative else "one fit"
    return [
        Alert(
            code="ignored_settings",
            level="warning",
            message=f"{name} is trained by {how}; these settings have no effect on it: {', '.join(ignored)}.",
            evidence={"settings": ignored},
            remedy="Set the estimator's own parameters in the model file or through modelConfig.args.",
        )
    ]


def _set(section: BaseModel, key: str, names: Iterable[str]) -> list[str]:
    """Paths of the fields ``names`` that have another value than their default."""
    fields = type(section).model_fields
    return [
        f"{key}.{fields[name].alias or name}"
        for name in names
        if getattr(section, name) != fields[name].get_default(call_default_factory=True)
    ]
