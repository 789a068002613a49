"""How a run goes on from a checkpoint, and what it says when something has changed since."""

from typing import Any

from schemas.result import Place
from trainer_core.channel import Channel
from trainer_core.checkpoints.former_best import find_best, say_gone
from trainer_core.checkpoints.resumption import load_resumed
from trainer_core.checkpoints.snapshot import load_snapshot
from trainer_core.failure import Failure
from trainer_core.loop.gradients import set_learning_rate
from trainer_core.loop.material import Surroundings
from trainer_core.loop.recovery.rollback import Standing
from trainer_core.loop.trainer import Trainer


def resume(around: Surroundings, trainer: Trainer) -> None:
    """Go on from the checkpoint that the request names (that of the first node, which has it); the curve so far is said once
    more."""
    config, channel = around.request.checkpoint_config, around.channel
    snapshot = around.ranks.from_first(lambda: load_resumed(config, load_snapshot, channel))
    trainer.saving.restore(snapshot)
    take_up_best(around, trainer)
    check_batches(trainer, snapshot.state)
    if not around.request.training_config.fast_dev_run:
        say_changes(trainer, snapshot.state, around.channel)
    # The rate of the latest step: an epoch whose steps are all done is only evaluated, and its row names the rate.
    position = trainer.position
    set_learning_rate(trainer.optimizer, trainer.schedule.learning_rate(max(0, position.step - 1), position.epoch))
    standing = Standing(trainer.saving, trainer.position, trainer.curve, trainer.best, trainer.clock)
    around.channel.emit(standing.restored())


def take_up_best(around: Surroundings, trainer: Trainer) -> None:
    """The best checkpoint so far, wherever it lies by now. Where it is gone no epoch is the best. All ranks take part."""
    saving, before = trainer.saving, trainer.saving.best_path
    if before is None:
        return
    saving.best_path = around.ranks.from_first(lambda: find_best(before, saving.latest_path))
    if saving.best_path is None:
        say_gone(around.channel, trainer.best.epoch, before)
        trainer.best.forget()


def check_batches(trainer: Trainer, state: dict[str, Any]) -> None:
    """Raise Failure ``checkpoint_incompatible`` when the checkpoint stands in mid-epoch, and that epoch would have other
    batches now."""
    order = trainer.batches.order.state()
    if state["order"] == order or not state["position"]["step_in_epoch"]:
        return
    before, now = (", ".join(f"{key} {value}" for key, value in side.items()) for side in (state["order"], order))
    raise Failure(
        "checkpoint_incompatible",
        f"The checkpoint stands in the middle of an epoch whose batches would be others now ({before}; now {now}).",
        next_move="Keep data, batchSize, gradientAccumulation and seed, or resume from a checkpoint of a whole epoch.",
        place=Place(pointer="/checkpointConfig/resumeFrom"),
    )


def say_changes(trainer: Trainer, state: dict[str, Any], channel: Channel) -> None:
    """Say what other batches, or a changed length, mean for the rest of the run."""
    length, position = trainer.length, trainer.position
    if state["order"] != trainer.batches.order.state():
        channel.warn(
            "order_changed", "Data, batch size or seed are not those of the checkpoint: batches differ from here on."
        )
    if state["length"] != length.state():
        channel.warn(
            "length_changed",
            f"The checkpoint's run was {state['length']['total_steps']} steps long, this one is {length.total_steps}: the "
            f"learning rate follows the new length from step {position.step} on.",
            before=state["length"]["total_steps"],
            now=length.total_steps,
        )
    if trainer.saving.averaged:
        remedy = "Train anew with this number of epochs where the mean has to be that of its last share."
        channel.warn("average_of_other_epochs", trainer.saving.averaged, remedy=remedy)
    if trainer.complete:
        done, of, setting = f"{position.epoch} epochs", str(length.epochs), "epochs"
        if position.epoch < length.epochs:
            done, of, setting = f"{position.step} steps", str(length.max_steps), "maxSteps"
        message = f"The checkpoint has trained {done}; of {of} nothing is left."
        channel.warn("nothing_left_to_train", message, remedy=f"Raise trainingConfig.{setting} to train on.")
