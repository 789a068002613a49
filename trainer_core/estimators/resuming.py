"""How a run goes on from a checkpoint."""

from pathlib import Path

from schemas.checkpointing import CheckpointConfig
from schemas.events import RunRestored
from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.checkpoints.former_best import find_best, say_gone
from trainer_core.checkpoints.resumption import load_resumed
from trainer_core.estimators.checkpoint import EstimatorParts, load_parts
from trainer_core.estimators.run import Run
from trainer_core.failure import Failure


def resume(config: CheckpointConfig, run: Run, channel: Channel) -> None:
    """Go on from the checkpoint that the request names. Raises ``input_invalid`` for an estimator that cannot go on."""
    place = Place(pointer="/checkpointConfig/resumeFrom")
    if not run.learner.iterative:
        message = f"{run.learner.name} is trained by one fit; there is nothing to go on with."
        raise Failure("input_invalid", message, next_move="Drop checkpointConfig.resumeFrom.", place=place)
    path, parts = load_resumed(config, lambda path: (path, load_parts(path)), channel)
    _check_same_model(path, parts, run, place)
    run.restore(path, parts)
    take_up_best(run, channel)
    channel.emit(
        RunRestored(
            path=str(path),
            epoch=run.epoch,
            step=run.epoch,
            history=run.curve.rows,
            best_epoch=run.best.epoch,
            best_path=run.best_path,
        )
    )


def take_up_best(run: Run, channel: Channel) -> None:
    """The best checkpoint so far, wherever it lies by now. Where it is gone no epoch is the best."""
    before = run.best_path
    if before is None:
        return
    run.best_path = find_best(before, run.latest_path)
    if run.best_path is None:
        say_gone(channel, run.best.epoch, before)
        run.best.forget()


def _check_same_model(path: Path, parts: EstimatorParts, run: Run, place: Place) -> None:
    """The fitted estimator stands for the one of the model file: class and parameters must be the same."""
    here, there = run.learner.estimator, parts.estimator
    differing = (
        [f"class {type(there).__name__}, not {type(here).__name__}"]
        if type(there).__name__ != type(here).__name__
        else [
            f"{name} {value!r}, not {here.get_params(deep=False).get(name)!r}"
            for name, value in there.get_params(deep=False).items()
            if repr(value) != repr(here.get_params(deep=False).get(name))
        ]
    )
    if differing or there.n_features_in_ != run.train.inputs.shape[1]:
        what = ", ".join(differing) or f"{there.n_features_in_} features, not {run.train.inputs.shape[1]}"
        message = f"{path} is of another model: {what}."
        raise Failure("checkpoint_incompatible", message, place=place.model_copy(update={"path": str(path)}))
