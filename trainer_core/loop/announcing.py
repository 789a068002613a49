"""What a run says before it begins."""

from schemas.events import DataLoaded, ModelLoaded, RunResolved
from trainer_core.loop.choices import fill_in
from trainer_core.loop.material import Material, Sizes, Surroundings
from trainer_core.loop.optimizers import default_weight_decay
from trainer_core.loop.schedules import Schedule


def announce(
    around: Surroundings,
    material: Material,
    sizes: Sizes,
    schedule: Schedule,
    learning_rate: float,
) -> None:
    """Say what runs: the request with every choice filled in, the data, the model."""
    training, data = around.request.training_config, material.data
    resolved, chosen = fill_in(
        around.request,
        {
            "/engine": "native",
            "/dataConfig/batchSize": sizes.batch_size,
            "/dataConfig/evalBatchSize": sizes.eval_batch_size,
            "/dataConfig/numWorkers": sizes.workers,
            "/dataConfig/format": data.format,
            "/trainingConfig/learningRate": learning_rate,
            "/trainingConfig/weightDecay": default_weight_decay(training),
            "/trainingConfig/warmupSteps": schedule.warmup_steps,
            "/trainingConfig/precision": material.precision.name,
            "/trainingConfig/gradientClipping": 1.0
            if training.gradient_clipping is None
            else training.gradient_clipping,
            "/trainingConfig/task": data.task,
            "/trainingConfig/loss": material.loss.name,
            "/trainingConfig/devices": around.ranks.world,
            "/trainingConfig/strategy": "ddp" if around.ranks.world > 1 else "single",
            "/resources/threads": sizes.threads,
        },
    )
    around.channel.emit(RunResolved(resolved=resolved, chosen=chosen))
    for alert in data.warnings:
        around.channel.emit(alert)
    around.channel.emit(
        DataLoaded(
            format=data.format,
            task=data.task,
            train_samples=len(data.train),
            val_samples=0 if data.validation is None else len(data.validation),
            classes=None if data.classes is None else list(data.classes),
            profile=data.profile,
        )
    )
    around.channel.emit(
        ModelLoaded(
            name=type(material.model).__name__,
            parameters=material.parameters,
            trainable_parameters=sum(item.numel() for item in material.model.parameters() if item.requires_grad),
            sha256=material.model_file.sha256,
        )
    )
