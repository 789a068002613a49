"""How a run goes on from a checkpoint, and what it says when something has changed since."""

from typing import Any

from schemas.result import Place
from trainer_core.channel import Channel
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
    follow_changes(trainer, snapshot.state, around.channel)
    # The rate of the latest step: an epoch whose steps are all done is only evaluated, and its row names the rate.
    position = trainer.position
    set_learning_rate(trainer.optimizer, trainer.schedule.learning_rate(max(0, position.step - 1), position.epoch))
    standing = Standing(trainer.saving, trainer.position, trainer.curve, trainer.best, trainer.clock)
    around.channel.emit(standing.restored())


def follow_changes(trainer: Trainer, state: dict[str, Any], channel: Channel) -> None:
    """Say what a changed length means for the rest of the run. Raises ``checkpoint_incompatible`` when the checkpoint
    stands in mid-epoch, and that epoch would have other batches now."""
    order, length = trainer.batches.order, trainer.length
    if state["order"] != order.state():
        if trainer.position.step_in_epoch:
            before, now = (
                ", ".join(f"{key} {value}" for key, value in side.items()) for side in (state["order"], order.state())
            )
            raise Failure(
                "checkpoint_incompatible",
                f"The checkpoint stands in the middle of an epoch whose batches would be others now ({before}; now {now}).",
                next_move="Keep data, batchSize, gradientAccumulation and seed, or resume from a checkpoint of a whole epoch.",
                place=Place(pointer="/checkpointConfig/resumeFrom"),
            )
        trainer.position.step = trainer.position.epoch * length.steps_per_epoch
        channel.warn(
            "order_changed", "Data, batch size or seed are not those of the checkpoint: batches differ from here on."
        )
    if state["length"] != length.state():
        channel.warn(
            "length_changed",
            f"The checkpoint's run was {state['length']['total_steps']} steps long, this one is {length.total_steps}: the "
            f"learning rate follows the new length from step {trainer.position.step} on.",
            before=state["length"]["total_steps"],
            now=length.total_steps,
        )
    if length.reached(trainer.position):
        message = f"The checkpoint has trained {trainer.position.epoch} epochs; of {length.epochs} nothing is left."
        channel.warn("nothing_left_to_train", message, remedy="Raise trainingConfig.epochs to train on.")
