"""Commands on documents: plan, schema."""

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemas
from app.cli.address import Whereabouts
from app.cli.errors import error_lines, shown, value
from app.cli.exits import Exit, Refusal
from app.cli.output import read_request, remark, write_json, write_table
from app.settings import Settings

Json = dict[str, Any]


def plan(arguments: Namespace) -> int:
    """What a request would do: the verdict, every setting it would run with, and what stands in its way."""
    found = _plan(read_request(arguments.request))
    if arguments.json:
        write_json(found)
    else:
        _show_plan(found)
    return Exit.SUCCESS if found["verdict"] == "ready" else Exit.INVALID_INPUT


def schema(arguments: Namespace) -> int:
    """One JSON Schema of the contract; needs no service."""
    path = Path(schemas.__file__).parent / "json" / f"{arguments.name}.schema.json"
    write_json(json.loads(path.read_text(encoding="utf-8")))
    return Exit.SUCCESS


def _plan(request: bytes) -> Json:
    """By the service that runs, or here: to judge a request needs no queue."""
    whereabouts = Whereabouts.from_environment()
    client = whereabouts.client()
    if client is not None:
        return client.plan(request)
    if whereabouts.url is not None:
        raise whereabouts.missing()
    from app.gate.gate import Gate
    from app.planning import plan_of
    from app.problems import Refusal as Refused

    gate = Gate(Settings.from_environment())
    try:
        return plan_of(gate.examine(gate.read(request), "paths"), "paths").to_json()
    except Refused as refused:
        raise Refusal(refused.problem.to_json()) from None


def _show_plan(found: Json) -> None:
    print(shown(found["summary"]))
    for title, errors in (("Problems", found.get("problems", [])), ("Warnings", found.get("warnings", []))):
        if errors:
            print(f"{title}:")
        for number, error in enumerate(errors, start=1):
            print("\n".join(error_lines(error, number)))
    if found.get("resolved"):
        defaulted = set(found.get("defaulted", []))
        rows = ((pointer, value(leaf), _origin(pointer, defaulted)) for pointer, leaf in _leaves(found["resolved"]))
        write_table(("setting", "value", "from"), rows)
    if found.get("suggestedInput") is not None:
        remark("The input with all fixes applied: pytorch-trainer plan --json, under suggestedInput.")


def _leaves(node: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield pointer, node
        return
    for key, child in node.items():
        yield from _leaves(child, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


def _origin(pointer: str, defaulted: set[str]) -> str:
    parts = pointer.split("/")
    above = ("/".join(parts[:end]) for end in range(2, len(parts) + 1))
    return "default" if any(place in defaulted for place in above) else "request"
