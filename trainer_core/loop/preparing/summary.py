"""The modules of a model as a table: what each is, how large, and what comes out of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from schemas.model import ModuleRow
from schemas.result import Artifact
from trainer_core.checkpoints.artifacts import write_artifact
from trainer_core.loop.trees import shapes

SUMMARY_FILE = "model_summary.txt"
# Rows of the table; a model of more modules is not read line by line.
_MOST = 1000
_LONGEST = 64


class Shapes:
    """The output shapes of a model's modules, by module: those of the first call within ``watching``."""

    def __init__(self) -> None:
        self._by_module: dict[nn.Module, str] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note what each module of ``model`` puts out in what runs inside."""
        modules = (module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule))
        handles = [module.register_forward_hook(self._note) for module in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        text = shapes(output)
        self._by_module.setdefault(module, text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")

    def of(self, module: nn.Module) -> str | None:
        """The shape, or None when the module was not called."""
        return self._by_module.get(module)


def summarise(model: nn.Module, outputs: Shapes) -> list[ModuleRow]:
    """A row for each module, outermost first, at most 1,000."""
    named = [*model.named_modules()][:_MOST]
    return [_row(name, module, outputs.of(module)) for name, module in named]


def write_summary(run_folder: Path, rows: Sequence[ModuleRow]) -> Artifact:
    """``model_summary.txt`` in the run's folder."""
    return write_artifact(run_folder, SUMMARY_FILE, table_of(rows).encode())


def table_of(rows: Sequence[ModuleRow]) -> str:
    """``rows`` as aligned text, indented by depth."""
    cells = [("module", "class", "parameters", "trainable", "output")]
    for row in rows:
        depth = row.name.count(".") + 1 if row.name else 0
        name = "  " * depth + (row.name.rsplit(".", 1)[-1] or "(model)")
        cells.append((name, row.kind, f"{row.parameters:,}", f"{row.trainable:,}", row.output or "-"))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]:>{widths[3]}}  {line[4]}"
        for line in cells
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, module: nn.Module, output: str | None) -> ModuleRow:
    sizes = [
        (parameter.numel(), parameter.requires_grad) for parameter in module.parameters() if not is_lazy(parameter)
    ]
    return ModuleRow(
        name=name,
        kind=type(module).__name__,
        parameters=sum(size for size, _ in sizes),
        trainable=sum(size for size, trained in sizes if trained),
        output=output,
    )
