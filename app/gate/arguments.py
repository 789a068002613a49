"""Arguments of optimizers, schedules and losses, judged by the tables that the worker reads them through."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.gate.mending import NOTHING, mend
from app.gate.patches import Path, add, has, look, remove, replace
from app.gate.request_errors import named, said, wrong
from app.gate.request_schema import is_valid, schema_at
from app.gate.spellings import closest
from schemas.arguments import Argument, Condition, Entry, given_of
from schemas.kinds import Kind, accepts
from schemas.problems import PatchOperation, RequestError
from schemas.training import TrainingConfig

Document = dict[str, Any]
Errors = Iterator[RequestError]

TRAINING = ("trainingConfig",)

# Arguments that torch has and that the request says elsewhere, and those that the loop owns.
_ELSEWHERE: dict[str, Path] = {
    "lr": (*TRAINING, "learningRate"),
    "learning_rate": (*TRAINING, "learningRate"),
    "weight_decay": (*TRAINING, "weightDecay"),
    "label_smoothing": (*TRAINING, "labelSmoothing"),
    "warmup_steps": (*TRAINING, "warmupSteps"),
    "num_warmup_steps": (*TRAINING, "warmupSteps"),
    "warmup_ratio": (*TRAINING, "warmupRatio"),
}
_OWNED: dict[str, str] = {
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), "the training loop chooses it"),
    **dict.fromkeys(("T_max", "total_iters", "total_steps", "steps_per_epoch"), "the schedule spans the whole run"),
    **dict.fromkeys(("epochs", "num_training_steps", "max_steps"), "the schedule spans the whole run"),
    **dict.fromkeys(("last_epoch", "verbose"), "the training loop keeps it"),
    **dict.fromkeys(("reduction", "size_average", "reduce"), "the training loop takes the mean over samples"),
}


def argument_errors(document: Document, key: str, entry: Entry) -> Errors:
    """Errors in the arguments under ``key``, if they are those of ``entry``: unknown, wrong, missing, at odds with each
    other."""
    arguments = look(document, (*TRAINING, key), {})
    if not isinstance(arguments, dict):
        return
    length = _epochs(document)
    yield from value_errors(document, key, entry.name, entry.arguments, length)
    given = given_of(arguments)
    for argument in entry.arguments:
        if argument.proposed is not None and argument.name not in given:
            yield _missing(document, key, entry, argument, argument.proposed(length))
    # Judged as they will be once they are mended: what a fix would bring up is said at once.
    mended = {name: value for name, value in _as_mended(entry, given).items() if value is not NOTHING}
    for condition in entry.unmet(mended):
        yield _unmet((*TRAINING, key, condition.argument), entry, condition, given)


def _epochs(document: Document) -> int:
    epochs = look(document, (*TRAINING, "epochs"))
    is_length = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs > 0
    return epochs if is_length else int(TrainingConfig.model_fields["epochs"].default)


def _as_mended(entry: Entry, given: Document) -> Document:
    kinds = {argument.name: argument.kind for argument in entry.arguments if argument.name in given}
    return {
        name: given[name] if accepts(kind, given[name]) else mended_argument(name, given[name], kind)
        for name, kind in kinds.items()
    }


def value_errors(document: Document, key: str, owner: str, known: Sequence[Argument], epochs: int) -> Errors:
    """Errors in the names and values under ``key``, of which ``owner`` knows those in ``known``, in a run of ``epochs``."""
    arguments = look(document, (*TRAINING, key), {})
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        path = (*TRAINING, key, name)
        fitting = [argument for argument in known if argument.name == name]
        if not fitting:
            yield _unknown(document, path, owner, known, value)
        elif value is not None and not any(accepts(argument.kind, value) for argument in fitting):
            yield _wrong_value(path, value, fitting[0], epochs)


def _wrong_value(path: Path, value: Any, argument: Argument, epochs: int) -> RequestError:
    mended = mended_argument(argument.name, value, argument.kind)
    if mended is NOTHING and argument.proposed is not None:
        mended = argument.proposed(epochs)
    return wrong(
        path,
        "wrong_argument",
        f"{named(path)} is {said(value)}; expected {argument.kind.words}.",
        got=value,
        expected=argument.kind.words,
        suggestion=None if mended is NOTHING else mended,
        fix=[remove(path)] if mended is NOTHING else [replace(path, mended)],
    )


def mended_argument(name: str, value: Any, kind: Kind) -> Any:
    """``value`` made such as ``kind`` takes it; NOTHING when that does not suggest itself."""
    mended = mend(name, value, kind.schema)
    return mended if mended is not NOTHING and accepts(kind, mended) else NOTHING


def _missing(document: Document, key: str, entry: Entry, argument: Argument, value: Any) -> RequestError:
    path = (*TRAINING, key, argument.name)
    parents = [] if has(document, path[:-1]) else [add(path[:-1], {})]
    return wrong(
        path,
        "required",
        f"{entry.name} wants {argument.name} in {named(path[:-1])}; {said(value)} would do.",
        expected=argument.kind.words,
        suggestion=value,
        fix=[*parents, add(path, value)],
    )


def _unmet(path: Path, entry: Entry, condition: Condition, given: Document) -> RequestError:
    got = given.get(condition.argument)
    wanted = f"{entry.name} with {condition.switch} wants {named(path)} to be {condition.kind.words}"
    message = f"{wanted}." if got is None else f"{wanted}, not {said(got)}."
    fix = [add(path, condition.proposed)]
    code = "required" if got is None else "conflict"
    return wrong(path, code, message, got=got, expected=condition.kind.words, suggestion=condition.proposed, fix=fix)


def _unknown(document: Document, path: Path, owner: str, known: Sequence[Argument], value: Any) -> RequestError:
    name, names = str(path[-1]), list(dict.fromkeys(argument.name for argument in known))
    home = _ELSEWHERE.get(name)
    fix, suggestion = [remove(path)], None
    if home is not None:
        message = f"{named(path)} is said by {named(home)}."
        suggestion = named(home)
        fix += _moved_home(document, home, value)
    elif name in _OWNED:
        message = f"{named(path)} is not for a request to say: {_OWNED[name]}."
    else:
        takes = f"it takes {', '.join(names)}" if names else "it takes none"
        message = f"{owner} has no argument {said(name)}; {takes}."
        suggestion = closest(name, [other for other in names if not has(document, (*path[:-1], other))])
        fix += _moved_near(path, suggestion, known, value)
    return wrong(path, "unknown_argument", message, got=value, allowed=names, suggestion=suggestion, fix=fix)


def _moved_home(document: Document, home: Path, value: Any) -> list[PatchOperation]:
    """``value`` at ``home``, where it is right there or can be made so."""
    schema = schema_at(home)
    mended = value if is_valid(value, schema) else mend(str(home[-1]), value, schema)
    return [] if has(document, home) or value is None or mended is NOTHING else [add(home, mended)]


def _moved_near(path: Path, near: str | None, known: Sequence[Argument], value: Any) -> list[PatchOperation]:
    """``value`` under the name ``near``, where it is right there or can be made so."""
    for argument in known:
        if argument.name == near and value is not None:
            mended = value if accepts(argument.kind, value) else mended_argument(argument.name, value, argument.kind)
            return [] if mended is NOTHING else [add((*path[:-1], argument.name), mended)]
    return []
