"""From the request to a loop that is ready to run: its parts in the order in which they depend on each other."""

from trainer_core.loop import randomness
from trainer_core.loop.announcing import announce
from trainer_core.loop.assembly import Assembly
from trainer_core.loop.choices import COMPILE, MICRO_BATCH
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.resuming import resume
from trainer_core.loop.trainer import Trainer
from trainer_core.loop.tuning import tuning


def assemble(around: Surroundings, material: Material, sizes: Sizes) -> Trainer:
    """Build every part, say what was chosen, and put the run where ``resumeFrom`` left it."""
    parts = Assembly(around, material, sizes)
    trainer = parts.trainer()
    tuned = tuning.tune_size(around, trainer)
    parts.about[MICRO_BATCH] = str(trainer.memory.size)
    trainer.network = parts.network()
    parts.about[COMPILE] = "on" if parts.compilation.on else "off"
    tuned += parts.compilation.tuned
    tuned += tuning.tune_rate(around, trainer, parts.learning_rate, parts.train_with)
    announce(around, material, sizes, trainer, parts.learning_rate, parts.compilation, tuned)
    randomness.seed_everything(around.request.training_config.seed + around.ranks.index)
    if around.ranks.from_first(lambda: around.request.checkpoint_config.resume_from is not None):
        resume(around, trainer)
    parts.refusals.begin()
    return trainer
