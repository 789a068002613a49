"""Which formats of export this installation can make. A look at what is installed; nothing is imported."""

from functools import cache
from importlib.util import find_spec

from schemas.exporting import EXPORTS, ExportFormat


def missing(format: ExportFormat) -> list[str]:
    """The modules that ``format`` needs and that are not installed."""
    return [name for name in EXPORTS[format].needs if find_spec(name) is None]


@cache
def available() -> tuple[ExportFormat, ...]:
    """Those that need nothing more, in the order of their table."""
    return tuple(name for name in EXPORTS if not missing(name))
