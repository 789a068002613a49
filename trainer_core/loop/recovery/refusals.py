"""What follows when the gate refuses a step, because its loss or gradient is not finite."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from schemas.events import RecoveryMade
from schemas.recovery import Action, RecoveryPolicy
from trainer_core.channel import Channel, finite
from trainer_core.checkpoints.snapshot import Snapshot
from trainer_core.data.draws import drawing
from trainer_core.failure import Failure
from trainer_core.loop.batches import Order
from trainer_core.loop.divergence import Examiner, Finding, diverged
from trainer_core.loop.gate import Gate
from trainer_core.loop.gradients import get_learning_rate, set_learning_rate
from trainer_core.loop.position import Position
from trainer_core.loop.precision import Precision
from trainer_core.loop.recovery.ledger import Ledger
from trainer_core.loop.recovery.moment import Moment
from trainer_core.loop.recovery.rollback import Rollback
from trainer_core.loop.schedules import Schedule


class Refused(Exception):
    """The epoch cannot go on from here: batch number ``batch`` of it was refused."""

    def __init__(self, batch: int) -> None:
        super().__init__(batch)
        self.batch = batch


@dataclass(kw_only=True)
class Refusals:
    """The first refusal is the run's failure, ``diverged``. The null form."""

    gate: Gate
    examiner: Examiner
    order: Order
    position: Position
    optimizer: torch.optim.Optimizer

    def begin(self) -> None:
        """The run is about to train."""

    def leaves_out(self) -> bool:
        """Whether the batch that comes now was refused before, and is passed over."""
        return False

    def admits(self, loss: Tensor, norm: Tensor) -> bool:
        """Whether the step of this batch may be taken: its ``loss`` and gradient ``norm`` are finite. (A gate on the device
        says so of every step, leaves out the bad one and all after it, and is asked by ``look``.)"""
        batch = self.position.step_in_epoch
        if self.gate.admits(loss, norm, batch):
            return True
        self.refuse(batch)
        return False

    def look(self) -> None:
        """Ask the device whether it refused a step; waits for it."""
        batch = self.gate.refused()
        if batch is not None:
            raise self.failure(batch)

    def refuse(self, batch: int) -> None:
        """Deal with the batch in hand, number ``batch`` of the epoch."""
        raise self.failure(batch)

    def go_back(self, refused: Refused) -> None:
        """Put the run where it can go on without the batch."""
        raise self.failure(refused.batch)

    def failure(self, batch: int) -> Failure:
        """What to say of batch number ``batch`` of the epoch in progress."""
        return diverged(self._examine(batch), self.position.epoch + 1, self._step(batch), self._rate())

    def _examine(self, batch: int) -> Finding:
        (indices,) = self.order.batches(self.position.epoch, batch, batch + 1)
        # What its samples draw, they draw once more.
        with drawing(self.order.seed, self.position.epoch):
            return self.examiner.examine(indices)

    def _step(self, batch: int) -> int:
        """The optimizer step of batch number ``batch``, from 1."""
        return self.position.step - (self.position.step_in_epoch - batch) + 1

    def _rate(self) -> float:
        return get_learning_rate(self.optimizer)


@dataclass(kw_only=True)
class BoundedRefusals(Refusals):
    """Leaves a refused batch out; too many of them, and the run goes back to its last good state and learns more slowly;
    too often, and it fails.

    A batch that is left out is as if the epoch did not have it, but for its step, which is counted: generators, buffers and
    figures are those before it. So it makes no difference whether the gate says so at once or, on a device, when it is next
    looked at: the run then goes back as well, and comes again to where it was, without the batch.
    """

    policy: RecoveryPolicy
    ledger: Ledger
    moment: Moment
    precision: Precision
    schedule: Schedule
    rollback: Rollback
    channel: Channel

    def begin(self) -> None:
        """Keep what there is to go back to."""
        self.rollback.begin()

    def leaves_out(self) -> bool:
        """Whether the batch that comes now is left out; it is then behind us."""
        left_out = self.ledger.left_out
        if not left_out or (self.position.epoch, self.position.step_in_epoch) not in left_out:
            return False
        self.position.advance(stepped=True)
        return True

    def look(self) -> None:
        """Ask the device; raise Refused where it refused a step, for those after it were refused too."""
        batch = self.gate.refused()
        if batch is not None:
            raise Refused(batch)

    def refuse(self, batch: int) -> None:
        """Leave the batch in hand out; raise Refused where that was done too often."""
        self.precision.leave_out()
        if not self._may_leave_out(batch):
            raise Refused(batch)
        self.moment.put_back()
        self._leave_out(batch, self._examine(batch), {})
        self.position.advance(stepped=True)

    def go_back(self, refused: Refused) -> None:
        """To the last good state: with the rates as they are where the batch is only left out, else lower. Raises Failure
        ``diverged`` when nothing more is to be tried."""
        batch, skips = refused.batch, self._may_leave_out(refused.batch)
        self.moment.put_back()
        finding = self._examine(batch)
        hopeless = not skips and (finding.in_data or self.ledger.rollbacks >= self.policy.max_rollbacks)
        target = None if hopeless else self.rollback.target()
        if target is None:
            tried = self._tried(hopeless)
            raise diverged(finding, self.position.epoch + 1, self._step(batch), self._rate(), tried)
        step = target.state["position"]["step"]
        if skips:
            self._leave_out(batch, finding, {"goesOnFromStep": step})
        else:
            self._lower(batch, finding, step)
        self._restore(target)

    def _restore(self, target: Snapshot) -> None:
        """Put the run where ``target`` was taken, but for what was learnt about it since."""
        learnt = self.ledger.state()
        self.rollback.to(target)
        self.ledger.restore(learnt)
        self.gate.clear()
        # As after a resume: an epoch whose steps are all done is only evaluated, and its row names the rate.
        rate = self.schedule.learning_rate(max(0, self.position.step - 1), self.position.epoch)
        set_learning_rate(self.optimizer, rate)
        self.rollback.say()

    def _may_leave_out(self, batch: int) -> bool:
        """Whether the bounds permit one more."""
        row = self.ledger.row_before(self.position.epoch, batch)
        return self.ledger.recent < self.policy.max_skips and row < self.policy.max_skips_in_a_row

    def _leave_out(self, batch: int, finding: Finding, more: dict[str, Any]) -> None:
        before = len(self.ledger.left_out)
        self.ledger.leave_out(self.position.epoch, batch)
        self._say("batch_left_out", batch, finding, {"leftOut": before}, {"leftOut": before + 1, **more})

    def _lower(self, batch: int, finding: Finding, target_step: int) -> None:
        before = {"learningRateFactor": self.ledger.factor, "step": self._step(batch)}
        self.ledger.leave_out(self.position.epoch, batch)
        self.ledger.go_back(self.policy.rollback_factor)
        after = {"learningRateFactor": self.ledger.factor, "step": target_step}
        self._say("rolled_back", batch, finding, before, after)

    def _say(self, action: Action, batch: int, finding: Finding, before: dict[str, Any], after: dict[str, Any]) -> None:
        loss = {} if finding.loss is None else {"loss": finite(finding.loss) or str(finding.loss)}
        self.channel.emit(
            RecoveryMade(
                cause="non_finite",
                action=action,
                epoch=self.position.epoch + 1,
                step=self._step(batch),
                before=before,
                after=after,
                reason=f"Loss or gradient was not finite: {finding.words}.",
                equivalent=action == "batch_left_out",
                evidence={"samples": finding.samples, "inData": finding.in_data, "learningRate": self._rate(), **loss},
            )
        )

    def _tried(self, hopeless: bool) -> str:
        """What was done before, for the failure."""
        ledger = self.ledger
        done = f" Before that {len(ledger.left_out)} batches were left out"
        back = f", and the run went back {ledger.rollbacks} times (learning rate x {ledger.factor:g})"
        none = "" if hopeless else " There is no checkpoint to go back to."
        return f"{done}{back if ledger.rollbacks else ''}.{none}"


def build_refusals(policy: RecoveryPolicy, plain: Refusals, **recovering: Any) -> Refusals:
    """``plain`` where a refusal is to be the end; else one of the same parts and those for ``recovering``."""
    if policy.non_finite == "fail":
        return plain
    return BoundedRefusals(**vars(plain), policy=policy, **recovering)
