"""The engines, by name: which imports of a model file mean each one, where its door is, and what it does not look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

EngineName = Literal["native", "sklearn"]


@dataclass(frozen=True)
class EngineEntry:
    """One engine: ``door`` is ``module:function``, called with ``(assignment, channel, stop)`` in the worker.

    ``unread`` are the settings (JSON pointers) that it does not look at, ``instead`` says where their like is set, and
    ``needless`` why there is nothing to do for some of them; ``uses_gpu`` whether its jobs take GPUs, where there are any.
    """

    door: str
    imports: tuple[str, ...]
    title: str
    unread: tuple[str, ...] = ()
    instead: str = ""
    needless: Mapping[str, str] = field(default_factory=dict)
    uses_gpu: bool = True


_OF_A_NETWORK = (
    "/modelConfig/weights",
    "/modelConfig/freeze",
    "/dataConfig/batchSize",
    "/dataConfig/microBatchSize",
    "/dataConfig/numWorkers",
    "/dataConfig/evalBatchSize",
    "/trainingConfig/learningRate",
    "/trainingConfig/learningRateFinder",
    "/trainingConfig/batchSizeFinder",
    "/trainingConfig/optimizer",
    "/trainingConfig/optimizerArgs",
    "/trainingConfig/weightDecay",
    "/trainingConfig/parameterGroups",
    "/trainingConfig/scheduler",
    "/trainingConfig/schedulerArgs",
    "/trainingConfig/warmupSteps",
    "/trainingConfig/warmupRatio",
    "/trainingConfig/mixedPrecision",
    "/trainingConfig/precision",
    "/trainingConfig/gradientClipping",
    "/trainingConfig/clipBy",
    "/trainingConfig/gradientAccumulation",
    "/trainingConfig/loss",
    "/trainingConfig/lossArgs",
    "/trainingConfig/labelSmoothing",
    "/trainingConfig/weightAveraging",
    "/trainingConfig/maxSteps",
    "/trainingConfig/limitTrainBatches",
    "/trainingConfig/limitValBatches",
    "/trainingConfig/overfitBatches",
    "/trainingConfig/fastDevRun",
    "/trainingConfig/strategy",
    "/trainingConfig/findUnusedParameters",
    "/trainingConfig/syncBatchNorm",
    "/trainingConfig/devices",
    "/trainingConfig/numNodes",
    "/trainingConfig/rendezvous",
    "/trainingConfig/reportEverySeconds",
    "/trainingConfig/gradientCheckpointing",
    "/trainingConfig/compile",
    "/trainingConfig/deterministic",
    "/trainingConfig/profiler",
    "/trainingConfig/recovery",
    "/checkpointConfig/saveEverySteps",
    "/checkpointConfig/asyncSave",
    "/exportConfig",
    "/resources/threads",
)

ENGINES: dict[EngineName, EngineEntry] = {
    "native": EngineEntry("trainer_core.engines.native:train", ("torch",), "The native PyTorch training loop"),
    "sklearn": EngineEntry(
        "trainer_core.engines.sklearn:train",
        ("sklearn",),
        "Any scikit-learn estimator",
        unread=_OF_A_NETWORK,
        instead="an estimator's own parameters are set in the model file, or through modelConfig.args",
        needless={"/exportConfig": "the checkpoint of the sklearn engine is one file already, model.skops"},
        uses_gpu=False,
    ),
}

assert set(ENGINES) == set(get_args(EngineName))
