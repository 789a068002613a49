"""Other spellings of the request's keys and values: what people and other libraries call the same thing."""

import difflib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from app.gate.patches import Path
from app.gate.request_schema import homes
from schemas.metrics import METRICS


def normal(name: str) -> str:
    """``name`` without case and separators: ``Learning_Rate`` -> ``learningrate``."""
    return "".join(character for character in name.lower() if character.isalnum())


def closest(name: str, candidates: Iterable[str], cutoff: float = 0.72) -> str | None:
    """The candidate whose spelling is nearest to ``name``, or None when none is near."""
    return _closest(normal(name[:200])[:100], tuple(candidates), cutoff)


# A document is looked at again after each fix, with the same names in it.
@lru_cache(maxsize=4096)
def _closest(word: str, candidates: tuple[str, ...], cutoff: float) -> str | None:
    by_word = {normal(candidate): candidate for candidate in candidates}
    matches = difflib.get_close_matches(word, by_word, n=1, cutoff=cutoff)
    return by_word[matches[0]] if matches else None


# Normal spellings, by the property they mean.
_KEYS: dict[Path, str] = {
    ("modelPath",): "model modelfile script modelscript modeldefinition",
    ("engine",): "framework backend library",
    ("dataConfig", "trainPath"): "train traindata traindir trainfile trainset trainingdata trainingpath datapath data "
    "dataset datadir datafile",
    ("dataConfig", "valPath"): "val valdata valdir valfile valset validation validationdata validationpath validpath "
    "evalpath evaldata",
    ("dataConfig", "batchSize"): "bs batch minibatchsize trainbatchsize perdevicetrainbatchsize",
    ("dataConfig", "evalBatchSize"): "valbatchsize validationbatchsize testbatchsize perdeviceevalbatchsize",
    ("dataConfig", "numWorkers"): "workers nworkers dataloadernumworkers dataloaderworkers",
    ("dataConfig", "valSplit"): "validationsplit valfraction valratio valsize validationfraction testsize testsplit",
    ("dataConfig", "target"): "label labelcolumn targetcolumn targetcol labelcol y",
    ("dataConfig", "features"): "featurecolumns inputcolumns columns",
    ("dataConfig", "preprocessing", "imageSize"): "imgsize inputsize resize resolution",
    ("trainingConfig", "epochs"): "epoch numepochs nepochs maxepochs numtrainepochs trainepochs",
    ("trainingConfig", "learningRate"): "lr initiallr baselr learnrate initiallearningrate",
    ("trainingConfig", "optimizer"): "opt optim optimiser optimizername optimizertype",
    ("trainingConfig", "optimizerArgs"): "optimizerkwargs optimizerparams optimizeroptions optimargs",
    ("trainingConfig", "scheduler"): "lrscheduler schedule lrschedule sched schedulertype lrschedulertype",
    ("trainingConfig", "schedulerArgs"): "schedulerkwargs schedulerparams scheduleroptions lrschedulerkwargs",
    ("trainingConfig", "weightDecay"): "wd l2 l2regularization",
    ("trainingConfig", "warmupSteps"): "warmup nwarmupsteps numwarmupsteps",
    ("trainingConfig", "warmupRatio"): "warmupfraction warmupshare",
    ("trainingConfig", "mixedPrecision"): "amp useamp usemixedprecision automixedprecision",
    ("trainingConfig", "gradientClipping"): "gradclip clipgrad clipgradnorm gradientclip gradclipnorm maxgradnorm "
    "clipnorm gradclipping gradientclipval gradientclipnorm",
    ("trainingConfig", "gradientAccumulation"): "gradaccum accumulationsteps gradaccumsteps accumulation "
    "gradientaccumulationsteps accumulategradbatches accumsteps",
    ("trainingConfig", "loss"): "criterion lossfn lossfunction lossname objective",
    ("trainingConfig", "earlyStopping"): "earlystop earlystopping",
    ("trainingConfig", "earlyStopping", "patience"): "earlystoppingpatience earlystoppatience",
    ("trainingConfig", "seed"): "randomseed manualseed randomstate",
    ("trainingConfig", "numNodes"): "nodes nnodes nodecount machines nummachines",
    ("trainingConfig", "rendezvous", "endpoint"): "rdzvendpoint masteraddress",
    ("trainingConfig", "rendezvous", "nodeRank"): "machinerank",
    ("trainingConfig", "devices"): "gpus numgpus ngpus worldsize numdevices",
    ("trainingConfig", "profiler"): "profile profiling torchprofiler",
    ("trainingConfig", "learningRateFinder"): "lrfinder lrfind findlr autolr autolrfind findlearningrate "
    "learningratefind rangetest lrrangetest learningratesearch",
    (
        "trainingConfig",
        "batchSizeFinder",
    ): "scalebatchsize autoscalebatchsize autobatchsize autofindbatchsize findbatchsize batchsizesearch batchfinder",
    ("dataConfig", "microBatchSize"): "microbatch trainmicrobatchsizepergpu samplesperpass",
    ("trainingConfig", "learningRateFinder", "minLearningRate"): "minlr startlr",
    ("trainingConfig", "learningRateFinder", "maxLearningRate"): "endlr",
    ("checkpointConfig", "saveDir"): "savepath outputdir checkpointdir outdir savefolder ckptdir outputpath",
    ("checkpointConfig", "saveEvery"): "savefrequency saveeveryepochs saveinterval checkpointevery",
    ("checkpointConfig", "saveEverySteps"): "savesteps",
    ("checkpointConfig", "asyncSave"): "async asynccheckpointing asynccheckpoint enableasynccheckpointing",
    ("checkpointConfig", "keepLast"): "savetotallimit maxtokeep",
    ("checkpointConfig", "resumeFrom"): "resume resumefromcheckpoint checkpoint checkpointpath resumepath",
    ("modelConfig", "className"): "modelclass modelname",
    ("modelConfig", "args"): "modelargs modelkwargs modelparams kwargs",
    ("notify",): "callback callbacks callbackurl webhook webhooks webhookurl notification notifications",
    ("trackingConfig", "experiment"): "experimentname project",
    ("limits", "maxSeconds"): "timeout timeoutseconds maxtime maxduration timelimit",
}

# The same, where the value is an object: whole sections.
_SECTIONS: dict[Path, str] = {
    ("dataConfig",): "data dataset dataconfiguration datasettings",
    ("trainingConfig",): "training train trainer hyperparameters hparams trainingargs trainconfig trainingsettings",
    ("checkpointConfig",): "checkpoint checkpoints checkpointing ckpt",
    ("modelConfig",): "model modelsettings modeloptions",
    ("trackingConfig",): "tracking logging tracker",
    ("trainingConfig", "earlyStopping"): "earlystop",
    ("trainingConfig", "profiler"): "profile profiling torchprofiler",
    ("trainingConfig", "learningRateFinder"): "lrfinder lrfind rangetest lrrangetest",
    ("trainingConfig", "batchSizeFinder"): "scalebatchsize autoscalebatchsize batchfinder",
}


def _monitors() -> dict[str, str]:
    """Figures by the names of their metrics: ``rocauc`` and ``valauc`` -> ``valAuroc``."""
    words = [(normal(word), entry.row_name) for entry in METRICS for word in (entry.name, entry.figure, *entry.aliases)]
    return {prefix + word: figure for prefix in ("", "val") for word, figure in words}


_VALUES: dict[str, dict[str, str]] = {
    "engine": {"pytorch": "native", "torch": "native", "scikitlearn": "sklearn", "scikit": "sklearn"},
    "precision": {
        **dict.fromkeys(("float32", "32", "full", "single", "tf32", "none", "off", "false"), "fp32"),
        **dict.fromkeys(("float16", "16", "half", "16mixed"), "fp16"),
        **dict.fromkeys(("bfloat16", "bf16mixed"), "bf16"),
        **dict.fromkeys(("mixed", "amp", "true", "on"), "auto"),
    },
    "format": {
        **dict.fromkeys(("images", "image", "folder", "imgfolder", "png", "jpg", "jpeg"), "imageFolder"),
        **dict.fromkeys(("jsonlines", "ndjson", "json"), "jsonl"),
        **dict.fromkeys(("numpy", "npy"), "npz"),
        **dict.fromkeys(("torch", "pth", "pytorch", "tensor"), "pt"),
        **dict.fromkeys(("custom", "python"), "modelFile"),
    },
    "mode": dict.fromkeys(("minimize", "minimum", "lower"), "min")
    | dict.fromkeys(("maximize", "maximum", "higher"), "max"),
    "task": dict.fromkeys(("multiclass", "classify", "multiclassclassification"), "classification")
    | {"binaryclassification": "binary", "regress": "regression"},
    "strategy": {"distributed": "ddp", "distributeddataparallel": "ddp", "dataparallel": "dp"}
    | dict.fromkeys(("none", "one"), "single")
    | dict.fromkeys(("fsdp2", "fullyshard", "fullysharded", "fullyshardeddataparallel", "zero3", "sharded"), "fsdp"),
    "splitMethod": {"stratify": "stratified", "shuffle": "random"},
    "clipBy": {"l2": "norm", "gradnorm": "norm", "abs": "value"},
    "imageMode": dict.fromkeys(("grey", "gray", "greyscale", "grayscale", "1"), "L") | {"color": "RGB", "3": "RGB"},
    "metrics": {
        normal(word): entry.name for entry in METRICS for word in (entry.figure, entry.row_name, *entry.aliases)
    },
    "monitor": _monitors()
    | {"accuracy": "valAccuracy", "acc": "valAccuracy", "valacc": "valAccuracy", "loss": "valLoss"}
    | {"validationloss": "valLoss", "validationaccuracy": "valAccuracy", "trainacc": "trainAccuracy"},
}


def _by_spelling() -> dict[str, Path]:
    known = homes()
    counts = Counter(normal(str(path[-1])) for path in known)
    own = {normal(str(path[-1])): path for path in known if counts[normal(str(path[-1]))] == 1}
    return {word: path for path, words in _KEYS.items() for word in words.split()} | own


_HOMES = _by_spelling()
_NAMES = {str(path[-1]): path for path in _HOMES.values()}
_SECTION_HOMES = {word: path for path, words in _SECTIONS.items() for word in words.split()}


def home_of(key: str, value: Any) -> Path | None:
    """Where the property belongs that ``key`` is another spelling of; None when it is unknown or ambiguous."""
    word = normal(key)
    if isinstance(value, dict) and word in _SECTION_HOMES:
        return _SECTION_HOMES[word]
    return _HOMES.get(word)


def near_home_of(key: str) -> Path | None:
    """Where the property belongs whose name is nearest to ``key``, anywhere in the request."""
    name = closest(key, _NAMES, cutoff=0.8)
    return _NAMES[name] if name else None


def value_of(name: str, value: str, allowed: Iterable[str]) -> str | None:
    """The allowed value of the property ``name`` that ``value`` is another spelling of, or near to."""
    choices = list(allowed)
    known = _VALUES.get(name, {}).get(normal(value))
    return known if known in choices or (known and not choices) else closest(value, choices, cutoff=0.6)
