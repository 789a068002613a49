"""The loop: run, epoch, step, micro-batch. It constructs nothing and decides nothing; it does what its parts say."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from schemas.events import EpochCompleted, EpochStarted, RunFinalizing
from schemas.result import EpochRow
from trainer_core.channel import Channel
from trainer_core.checkpoints.manifest import Kind
from trainer_core.epochs.best import Best
from trainer_core.epochs.curve import Curve, row_of
from trainer_core.epochs.early_stopping import EarlyStop
from trainer_core.loop.averaging import Averaging
from trainer_core.loop.batches import Batches, JoinedBatch, MicroBatch, OptimizerBatch
from trainer_core.loop.clipping import Clipping
from trainer_core.loop.epoch_clock import EpochClock
from trainer_core.loop.evaluation import NoEvaluation
from trainer_core.loop.footprint import peak_of_device
from trainer_core.loop.forward import Forward
from trainer_core.loop.gradients import Gradients, get_learning_rate, set_learning_rate
from trainer_core.loop.heap import Heap
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.position import Length, Position
from trainer_core.loop.precision import Precision
from trainer_core.loop.profiling import Profiling
from trainer_core.loop.ranks import Ranks, Totals
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.recovery.moment import Moment
from trainer_core.loop.recovery.refusals import Refusals, Refused
from trainer_core.loop.reporting import Reporting, Taken
from trainer_core.loop.saving import Saving
from trainer_core.loop.schedules import Schedule
from trainer_core.stop import Stop

# Whether a step may be taken, by its loss and its gradient norm.
Admits = Callable[[Tensor, Tensor], bool]
State = Literal["running", "succeeded", "early_stopped", "stopped"]


@dataclass
class Trainer:
    """Trains ``model``, which is what is saved and clipped, by calling ``network``, which may be it inside DDP."""

    model: nn.Module
    network: nn.Module
    device: torch.device
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    schedule_figure: str
    precision: Precision
    gradients: Gradients
    clipping: Clipping
    averaging: Averaging
    forward: Forward
    batches: Batches
    figures: Figures
    evaluation: NoEvaluation
    curve: Curve
    best: Best
    stopping: EarlyStop
    saving: Saving
    reporting: Reporting
    clock: EpochClock
    moment: Moment
    memory: Memory
    heap: Heap
    refusals: Refusals
    profiling: Profiling
    position: Position
    length: Length
    ranks: Ranks
    channel: Channel
    stop: Stop

    @property
    def cut_short(self) -> bool:
        """Whether the epoch in progress has steps left that are beyond the last one of the run."""
        return self.position.step_in_epoch < self.length.steps_per_epoch

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train, nor to judge: a run may have been interrupted after its last step."""
        epoch, trained = self.position.epoch, self.position.step_in_epoch
        unjudged = 0 < trained == self.length.steps_of_epoch(epoch) and not self.curve.has(epoch + 1)
        return self.length.reached(self.position) and not unjudged

    def run(self) -> State:
        """Train until the last step, an early stop or a request to stop, and say which it was."""
        began = time.monotonic()
        state: State = "succeeded" if self.complete else "running"
        if state == "running" and self.ranks.any(self.stop.requested):
            return "stopped"
        while state == "running":
            try:
                state = self.epoch()
            except Refused as refused:
                self.refusals.go_back(refused)
        self.saving.wait()
        if state != "stopped":
            seconds = time.monotonic() - began
            self.channel.emit(
                RunFinalizing(epochs_trained=len(self.curve.rows), seconds=seconds, **peak_of_device(self.device))
            )
        return state

    def epoch(self) -> State:
        """Train what is left of the epoch, evaluate, judge, save."""
        self.clock.begin()
        steps = self.length.steps_of_epoch(self.position.epoch)
        self.channel.emit(EpochStarted(epoch=self.position.epoch + 1, epochs=self.length.epochs, steps=steps))
        trained = self.train(steps)
        self.clock.end_training()
        if trained:
            self.averaging.end_epoch(self.position.epoch, self.cut_short)
        validation = self.evaluation.run(self.averaging.evaluated()) if trained else None
        if validation is None:
            self.save("cancel")
            return "stopped"
        trained_figures = self.training_figures()
        spent = self.clock.read()
        if spent.samples and "trainLoss" not in trained_figures:
            self.reporting.warn_nothing_counted(self.position.epoch + 1)
        figures = trained_figures | validation
        self.reporting.warn_left_out(self.evaluation.omitted)
        row = row_of(
            self.position.epoch + 1,
            figures,
            get_learning_rate(self.optimizer),
            spent.samples_per_second,
            step=self.position.step,
            seconds=spent.seconds,
            waited=spent.waiting,
            evaluated=spent.evaluating,
        )
        return self.conclude(row)

    def train(self, steps: int) -> bool:
        """Take the steps of the epoch from where it stands up to ``steps``; False when asked to stop in between."""
        self.reporting.begin_epoch()
        batches = self.batches.of_epoch(self.position.epoch, self.position.step_in_epoch, steps)
        for batch in self.profiling.over(self.reporting.timed(batches)):
            if self.refusals.leaves_out():
                continue
            self.clock.count(batch.samples)
            if self.step(batch):
                return False
        self.refusals.look()
        return True

    def step(self, batch: OptimizerBatch | JoinedBatch) -> bool:
        """One optimizer step, and what follows from it; whether the run is asked to stop."""
        learning_rate = self.schedule.learning_rate(self.position.step, self.position.epoch)
        taken, stop = self.learn(batch, learning_rate, self.refusals.admits)
        if taken is None:
            return stop
        stepped = not self.precision.skipped()
        self.averaging.follow(stepped)
        self.position.advance(stepped)
        if self.reporting.observe(taken, self.position):
            self.refusals.look()
            self.reporting.say(taken, self.position)
        self.heap.look()
        self.saving.look()
        if self.saving.due_in_epoch(self.position):
            self.save("step")
        return stop

    def learn(
        self, batch: OptimizerBatch | JoinedBatch, learning_rate: float, admits: Admits
    ) -> tuple[Taken | None, bool]:
        """Forward, backward and the optimizer's step at ``learning_rate``: what was taken, None where the step is not
        admitted, and whether any rank was asked to stop."""
        set_learning_rate(self.optimizer, learning_rate)
        self.moment.take()
        totals, stop = self.memory.attempt(lambda: self.accumulate(batch))
        # First: a scaler writes to what gradients there are, and this takes away those that no pass has written to.
        self.gradients.make_mean(batch.samples, totals.count)
        self.precision.unscale(self.optimizer)
        norm = self.clipping.clip(self.gradients)
        if not admits(totals.loss_sum, norm):
            return None, stop
        self.precision.step(self.optimizer)
        self.gradients.clear()
        return Taken(totals, norm, learning_rate, batch.samples), stop

    def accumulate(self, batch: OptimizerBatch | JoinedBatch) -> tuple[Totals, bool]:
        """Forward and backward over the micro-batches; the totals over all ranks, and whether any was asked to stop."""
        parts: list[Totals] = []
        for micro in batch.micro_batches(self.memory.size, self.device):
            with self.ranks.passing(self.network, micro.last):
                parts.append(self.micro_batch(micro, self.ranks.world / batch.samples))
        return self.ranks.total(Totals.of(parts), self.stop.requested)

    def micro_batch(self, micro: MicroBatch, scale: float) -> Totals:
        """One forward and backward pass. Gradients are those of ``scale`` times the sum of losses: a mean, but for the
        number of targets, which is known only when all micro-batches of all ranks are through (see ``Gradients.make_mean``)."""
        passed = self.forward(self.network, micro.inputs, micro.targets)
        self.forward.backward(passed.loss_sum, scale * micro.counted)
        totals = Totals(passed.loss_sum.detach(), passed.count.detach())
        if not micro.counted:
            return totals.nothing()
        self.figures.update(passed.output, micro.targets, totals.loss_sum, totals.count)
        return totals

    def training_figures(self) -> dict[str, float]:
        """Those of the epoch that was trained, over all ranks. They begin anew; of an epoch that was cut the first rank keeps
        them, for a run that trains the rest of it."""
        self.figures.merge(self.ranks)
        figures = self.figures.compute("train")
        if not (self.cut_short and self.ranks.first):
            self.figures.reset()
        return figures

    def conclude(self, row: EpochRow) -> State:
        """Judge a trained and evaluated epoch, save when it is time, and say how the run goes on."""
        cut_short = self.cut_short
        if cut_short:
            self.saving.note_cut()
        is_best = self.best.observe(row)
        verdict = self.stopping.observe(row)
        self.schedule.observe(row.figure(self.schedule_figure))
        self.curve.add(row)
        self.channel.emit(EpochCompleted(**row.model_dump(), is_best=is_best))
        self.reporting.end_epoch(row, self.position)
        if not cut_short:
            self.position.finish_epoch()
            self.clock.finish()
        state: State = "succeeded" if cut_short or self.length.reached(self.position) else "running"
        if verdict == "unmeasured":
            self.reporting.warn_unmeasured(self.stopping.monitor, row.epoch)
        if verdict == "stop" and state == "running":
            state = "early_stopped"
            self.reporting.say_early_stop(self.stopping, row.epoch)
        if self.saving.due(row.epoch, is_best, ends=state != "running"):
            self.save("epoch" if state == "running" else "final", is_best)
        return state

    def save(self, kind: Kind, is_best: bool = False) -> None:
        """Have a checkpoint written of weights that are known to be sound."""
        self.refusals.look()
        self.saving.save(kind, self.position, is_best)

    def close(self) -> None:
        """End what was started to write checkpoints, to look at the steps, and to fetch data."""
        self.saving.close()
        self.profiling.close()
        self.batches.close()
        self.evaluation.close()
