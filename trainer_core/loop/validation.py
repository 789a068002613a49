"""The evaluation of what a run holds out: which samples, how many of them, and by which figures."""

from trainer_core.loop.evaluation import Evaluation, NoEvaluation
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.recovery.memory import Memory
from trainer_core.loop.recovery.moment import Moment
from trainer_core.loop.sources import build_source


def build_evaluation(
    around: Surroundings, material: Material, sizes: Sizes, memory: Memory, moment: Moment
) -> NoEvaluation:
    """Evaluation of the validation samples, the first of them where ``limitValBatches`` says so; the null form where there
    are none."""
    samples, size = material.data.validation, sizes.eval_batch_size
    if samples is None:
        return NoEvaluation()
    training = around.request.training_config
    most = training.limit_val_batches
    return Evaluation(
        build_source(samples, around.device, sizes.workers, training.seed),
        len(samples) if most is None else min(len(samples), most * size),
        size,
        material.forward,
        material.figures(around.device, validated=True),
        around.ranks,
        around.device,
        around.stop,
        memory,
        moment,
    )
