"""The parts of the loop, from the request: the only place that constructs."""

from functools import cache, cached_property
from pathlib import Path

from torch import nn

from schemas.request import TrainingRequest
from schemas.training import TrainingConfig
from trainer_core.checkpoints.checkpoint_folder import CheckpointFolder
from trainer_core.epochs.best import Best, build_best
from trainer_core.epochs.curve import Curve
from trainer_core.epochs.early_stopping import EarlyStop, build_early_stopping
from trainer_core.failure import Failure
from trainer_core.loop.announcing import about
from trainer_core.loop.averaging import Averaging, build_averaging
from trainer_core.loop.batches import Batches, Order
from trainer_core.loop.choices import RATE
from trainer_core.loop.clipping import build_clipping
from trainer_core.loop.continuation import Continuation, QuickTry
from trainer_core.loop.cut_epoch import CutEpoch
from trainer_core.loop.divergence import Examiner
from trainer_core.loop.epoch_clock import EpochClock
from trainer_core.loop.gate import build_gate
from trainer_core.loop.heap import build_heap
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.metrics.metrics import Figures
from trainer_core.loop.optimizers import build_optimizer
from trainer_core.loop.position import Position
from trainer_core.loop.preparing.compiling import Compilation
from trainer_core.loop.preparing.parameter_groups import follow_rate
from trainer_core.loop.preparing.trial import Trial
from trainer_core.loop.profiling import Profiling, build_profiling
from trainer_core.loop.recovery.fitting import build_memory
from trainer_core.loop.recovery.ledger import Ledger
from trainer_core.loop.recovery.lowered_schedule import LoweredSchedule
from trainer_core.loop.recovery.memory import Kind, Memory
from trainer_core.loop.recovery.moment import Moment, build_moment
from trainer_core.loop.recovery.refusals import Refusals, build_refusals
from trainer_core.loop.recovery.rollback import Rollback, Standing
from trainer_core.loop.reporting import Reporting
from trainer_core.loop.run_state import Restores, RunState
from trainer_core.loop.saving import Saving
from trainer_core.loop.schedules import build_schedule, watched_figure
from trainer_core.loop.sources import build_source
from trainer_core.loop.statistics import Statistics
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning import tuning
from trainer_core.loop.validation import build_evaluation
from trainer_core.loop.writing import build_writing
from trainer_core.monitors.watch import watch_network


class Assembly:
    """The parts of one run. Each is made once, when it is first asked for; those whose order matters are made at once: what
    averages copies the model, ranks deal out model and copies, and the optimizer takes what they leave."""

    def __init__(self, around: Surroundings, material: Material, sizes: Sizes) -> None:
        self.around = around
        self.material = material
        self.sizes = sizes
        self.request: TrainingRequest = around.request
        self.training: TrainingConfig = around.request.training_config
        self.validates = material.data.validation is not None
        self.heap = build_heap(around.assignment.bounds.memory_bytes, len(around.assignment.devices))
        self.batches = self._batches()
        self.averaging = self._averaging()
        for model in self.averaging.models():
            around.ranks.prepare(model)
        self.learning_rate = tuning.settled_learning_rate(around, material.parameters)
        self.about = about(around, material, sizes, self.learning_rate)
        self.optimizer = build_optimizer(material.model, self.training, self.learning_rate, around.device)
        self.gradients = around.ranks.adopt(self.optimizer)
        self.position = Position()
        self.curve = Curve()
        self.ledger = Ledger()

    def trainer(self) -> Trainer:
        """The loop, with all of its parts, before anything is put around the model."""
        around, material = self.around, self.material
        return Trainer(
            model=material.model,
            network=material.model,
            device=around.device,
            optimizer=self.optimizer,
            schedule=self.schedule,
            schedule_figure=watched_figure(self.training, self.best, self.validates),
            precision=material.precision,
            gradients=self.gradients,
            clipping=build_clipping(self.training),
            averaging=self.averaging,
            forward=material.forward,
            batches=self.batches,
            figures=self.figures,
            evaluation=build_evaluation(around, material, self.sizes, self.memory_of_evaluation, self.moment),
            curve=self.curve,
            best=self.best,
            stopping=self.stopping,
            saving=self.saving,
            reporting=self.reporting,
            clock=self.clock,
            moment=self.moment,
            memory=self.memory,
            heap=self.heap,
            refusals=self.refusals,
            profiling=self._profiling(),
            position=self.position,
            length=self.sizes.length,
            ranks=around.ranks,
            channel=around.channel,
            stop=around.stop,
        )

    def network(self) -> nn.Module:
        """What is called in training."""
        return self.around.ranks.wrap(self.compilation.network, self._uses_all, self._trial(2).run)

    def train_with(self, learning_rate: float) -> None:
        """Take this rate, as if it had been asked for."""
        self.learning_rate = learning_rate
        self.about[RATE] = repr(learning_rate)
        self.schedule.follow(build_schedule(self.training, learning_rate, self.sizes.length.total_steps))
        follow_rate(self.optimizer.param_groups, self.training.parameter_groups, learning_rate)

    @cached_property
    def schedule(self) -> LoweredSchedule:
        steps = self.sizes.length.total_steps
        return LoweredSchedule(build_schedule(self.training, self.learning_rate, steps), self.ledger)

    @cached_property
    def best(self) -> Best:
        return build_best(self.request.checkpoint_config, self.training, self.validates)

    @cached_property
    def stopping(self) -> EarlyStop:
        return build_early_stopping(self.training, self.validates)

    @cached_property
    def figures(self) -> Figures:
        return self.material.figures(self.around.device, validated=False)

    @cached_property
    def reporting(self) -> Reporting:
        channel, every, epochs = self.around.channel, self.training.report_every_seconds, self.training.epochs
        watch = watch_network(channel, epochs=epochs, validates=self.validates, workers=self.sizes.workers)
        length, world = self.sizes.length, self.around.ranks.world
        return Reporting(channel, length, self.figures, self.around.device, every, watch, world)

    @cached_property
    def clock(self) -> EpochClock:
        return EpochClock(self.reporting.waiting)

    @cached_property
    def moment(self) -> Moment:
        return build_moment(self.training.recovery, self.material.model, self.around.device, self.figures)

    @cached_property
    def memory(self) -> Memory:
        return self._memory("micro_batch", self.batches.micro_size)

    @cached_property
    def memory_of_evaluation(self) -> Memory:
        return self._memory("evaluation_batch", self.sizes.eval_batch_size)

    @cached_property
    def saving(self) -> Saving:
        config = self.request.checkpoint_config
        writing = build_writing(config.async_save)
        return Saving(self._run_state(), self._folder(), config, writing, self.continuation, self.around.channel)

    @property
    def _judges(self) -> dict[str, Restores]:
        """What is told of each epoch."""
        return {"curve": self.curve, "best": self.best, "stopping": self.stopping}

    @cached_property
    def cut(self) -> CutEpoch:
        return CutEpoch({**self._judges, "schedule": self.schedule}, self.best, self.averaging, self.around.ranks)

    @cached_property
    def continuation(self) -> Continuation:
        before = (self.position, self.batches.order, self.sizes.length, self.cut, self.averaging)
        if not self.training.fast_dev_run:
            return Continuation(*before)
        counted = {**self._judges, "position": self.position, "clock": self.clock, "cut": self.cut}
        return QuickTry(*before, counted=counted, figures=self.figures)

    @cached_property
    def refusals(self) -> Refusals:
        around, material = self.around, self.material
        return build_refusals(
            self.training.recovery,
            Refusals(
                gate=build_gate(self.optimizer, material.precision, around.device),
                examiner=Examiner(material.model, material.data.train, material.forward, around.device, self.memory),
                order=self.batches.order,
                position=self.position,
                optimizer=self.optimizer,
            ),
            ledger=self.ledger,
            moment=self.moment,
            precision=material.precision,
            schedule=self.schedule,
            rollback=Rollback(
                Standing(self.saving, self.position, self.curve, self.best, self.clock), around.ranks, around.channel
            ),
            channel=around.channel,
        )

    @cached_property
    def compilation(self) -> Compilation:
        size, sizes = self.memory.size, cache(self.batches.pass_sizes)
        passes = self.sizes.length.total_steps * self.batches.passes(size)
        return tuning.compile_where_it_pays(
            self.around, self.material.model, self._trial(size), passes, lambda: sizes(self.memory.size)
        )

    def _batches(self) -> Batches:
        training, samples = self.training, self.material.data.train
        size, shuffle = self.sizes.batch_size, self.request.data_config.shuffle
        order = Order(len(samples), size * training.gradient_accumulation, training.seed, shuffle)
        source = build_source(samples, self.around.device, self.sizes.workers, training.seed)
        return Batches(source, order, self.around.ranks, size, self.sizes.micro_batch)

    def _averaging(self) -> Averaging:
        steps, forward = self.sizes.length.steps_per_epoch, self.material.forward
        statistics = Statistics(self.batches, steps, forward, self.around.device, lambda: self.memory.size)
        wanted = self.training.weight_averaging
        return build_averaging(self.material.model, wanted, self.training.epochs, statistics.settle)

    def _memory(self, kind: Kind, size: int) -> Memory:
        order = self.batches.order
        return build_memory(self.around, kind, size, self.material.model, order, self.position, self.moment)

    def _run_state(self) -> RunState:
        around, material = self.around, self.material
        return RunState(
            model=material.model,
            averaging=self.averaging,
            optimizer=self.optimizer,
            parts={
                "position": self.position,
                "schedule": self.schedule,
                "precision": material.precision,
                "best": self.best,
                "stopping": self.stopping,
                "curve": self.curve,
                "reporting": self.reporting,
                "clock": self.clock,
                "cutEpoch": self.cut,
                "ledger": self.ledger,
                "memory": self.memory,
                "memoryOfEvaluation": self.memory_of_evaluation,
            },
            definition={"order": self.batches.order, "length": self.sizes.length},
            figures=self.figures,
            ranks=around.ranks,
            device=around.device,
            about=self.about,
        )

    def _folder(self) -> CheckpointFolder | None:
        """Where checkpoints go; the first rank alone writes them."""
        if not self.around.ranks.first:
            return None
        return CheckpointFolder(Path(self.around.assignment.run_folder), self.request.checkpoint_config.keep_last)

    def _profiling(self) -> Profiling:
        """Of the first rank alone: the others do the same."""
        around = self.around
        wanted = self.training.profiled if around.ranks.first else None
        return build_profiling(wanted, around.device, Path(around.assignment.run_folder), around.channel)

    def _uses_all(self) -> bool:
        """Whether a pass of two samples gives every trainable parameter a gradient; not where it fails, which is for the
        first batch to tell."""
        try:
            return not self._trial(2).run(self.material.model)
        except Failure:
            return False

    def _trial(self, size: int) -> Trial:
        samples = self.material.data.train
        return Trial(samples, self.material.forward, min(size, len(samples)), self.around.device)
