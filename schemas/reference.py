"""The page ``docs/request.md``, written from the input schema: every setting with type, bounds, default and meaning."""

import json
from typing import Any

from schemas.losses import LOSSES
from schemas.metrics import METRICS
from schemas.optimizers import OPTIMIZERS
from schemas.schedules import SCHEDULES

_INTRODUCTION = """\
# The request

<!-- Written by `make schemas` from the typed models in `schemas/`; change them, not this page. -->

One JSON object, closed at every depth: an unknown key is refused with the nearest known one. `null` means absent. Paths are
relative to the workspace and may not leave it. The same as JSON Schema: `pytorch-trainer schema input`.
"""

_ABOUT_METRICS = """\
## Metrics

`trainingConfig.metrics` adds to what is usual for the task; a `monitor` that names one of these figures has it computed
too. Figures are those of scikit-learn's function of the same name on the whole validation set, never means over batches.

- Without `_macro` or `_weighted`, precision, recall and F1 are the positive class's where the task is binary, else macro:
  the mean over the classes that occur.
- `roc_auc` and `average_precision` of several classes are the mean over the classes that occur, each against the rest. They
  keep 4 bytes for each validation sample and class until the evaluation ends; over 2^26 of these numbers (256 MiB) they are
  computed from 4,096 bins of log-odds, and a warning says so.
- `top_5_accuracy` is usual from ten classes on.
- What is not defined (an area where all held-out targets are of one class) is left out, never NaN, and said once.
"""

_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def page(schema: dict[str, Any]) -> str:
    """The Markdown page for an input schema."""
    sections = [_INTRODUCTION, _section("Top level", schema, schema)]
    for name, child in schema["properties"].items():
        if "$ref" in child:
            sections += _nested(name, _definition(schema, child), schema)
    return "\n".join([*sections, _optimizers(), _schedules(), _losses(), _arguments(), _metrics()])


def _definition(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return found


def _nested(path: str, node: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    sections = [_section(f"`{path}`", node, schema)]
    for name, child in node["properties"].items():
        for option in (child, *child.get("anyOf", ())):
            if "$ref" in option:
                sections += _nested(f"{path}.{name}", _definition(schema, option), schema)
            if "$ref" in option.get("items", {}):
                sections += _nested(f"{path}.{name}[]", _definition(schema, option["items"]), schema)
    return sections


def _section(title: str, node: dict[str, Any], schema: dict[str, Any]) -> str:
    required = node.get("required", [])
    rows = [_row(name, child, name in required, schema) for name, child in node["properties"].items()]
    return "\n".join([f"## {title}\n", "| property | type | default | |", "|---|---|---|---|", *rows, ""])


def _row(name: str, node: dict[str, Any], required: bool, schema: dict[str, Any]) -> str:
    default = "**required**" if required else f"`{json.dumps(node['default'])}`" if "default" in node else ""
    meaning = node.get("description") or _definition(schema, node).get("description", "")
    cells = (f"`{name}`", _kind(node), default, " ".join(meaning.replace("|", "\\|").split()))
    return "| " + " | ".join(cells) + " |"


def _kind(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return "object"
    if "anyOf" in node:
        return " or ".join(_kind(option) for option in node["anyOf"])
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    bounds = " ".join(text.format(f"{node[key]:,}") for key, text in _BOUNDS.items() if key in node)
    return f"{node.get('type', 'any')} {bounds}".strip()


def _optimizers() -> str:
    rows = [
        f"| `{entry.name}` | {entry.learning_rate:g} | {entry.weight_decay:g} | {_code(entry.argument_names)} |"
        for entry in OPTIMIZERS
    ]
    head = ["## Optimizers\n", "| name | learning rate | weight decay | `optimizerArgs` |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _schedules() -> str:
    rows = [
        f"| `{entry.name}` | {_code(entry.aliases)} | {_code(entry.argument_names)} | {_code(entry.required)} | {entry.unit} |"
        for entry in SCHEDULES
    ]
    head = ["## Schedules\n", "| name | also | `schedulerArgs` | required | counts |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _losses() -> str:
    rows = [
        f"| `{entry.name}` | {_code(entry.aliases)} | {_code(entry.argument_names)} | {', '.join(entry.tasks)} |"
        for entry in LOSSES
    ]
    head = ["## Losses\n", "| name | also | `lossArgs` | task |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _arguments() -> str:
    """Every argument once for all that take it alike."""
    owners: dict[tuple[str, str, str], list[str]] = {}
    for entry in (*OPTIMIZERS, *SCHEDULES, *LOSSES):
        for argument in entry.arguments:
            default = (
                "**required**" if argument.required else "" if argument.default is None else _value(argument.default)
            )
            owners.setdefault((argument.name, argument.kind.words, default), []).append(entry.name)
    rows = [
        f"| `{name}` | {words} | {default} | {', '.join(names)} |"
        for (name, words, default), names in sorted(owners.items())
    ]
    head = ["## Arguments\n", "| name | takes | default | of |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _value(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _metrics() -> str:
    rows = [
        f"| `{entry.name}` | `{entry.row_name}` | {', '.join(entry.tasks)} | {', '.join(entry.usual)} | {entry.better} |"
        for entry in METRICS
    ]
    head = [_ABOUT_METRICS, "| name | figure | task | usual for | better |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
