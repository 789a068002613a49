"""How much of the sizes of its inputs a program leaves open: as much as the model allows."""

from collections.abc import Callable
from dataclasses import replace

from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from trainer_core.export.agreement import NotElsewhere
from trainer_core.export.format import Facts
from trainer_core.export.program import Openness, opennesses
from trainer_core.export.subject import Subject
from trainer_core.failure import Failure
from trainer_core.loop.buffers import keeping_buffers
from trainer_core.loop.forward import is_out_of_memory


def with_what_it_allows(subject: Subject, once: Callable[[Openness], Facts]) -> Facts:
    """What ``once`` comes to with as much left open as it can be made with, and agrees with the model for. The model's state is
    afterwards as before. Raises what it raises with nothing left open, and at once what no closing would help."""
    *wider, narrowest = opennesses(subject.trials)
    whys: list[str] = []
    for openness in wider:
        try:
            facts = _kept(subject, once, openness)
        except NotElsewhere as error:
            whys.append(f"With sizes left open it would be wrong: {error}.")
        except Exception as error:
            if not _may_be_of_openness(error):
                raise
            whys.append(f"With sizes left open it cannot be made: {type(error).__name__}.")
        else:
            return replace(facts, remarks=[*facts.remarks, *whys])
    facts = _kept(subject, once, narrowest)
    return replace(facts, remarks=[*facts.remarks, *dict.fromkeys(whys)])


def _kept(subject: Subject, once: Callable[[Openness], Facts], openness: Openness) -> Facts:
    with keeping_buffers(subject.model):
        return once(openness)


def _may_be_of_openness(error: Exception) -> bool:
    return not (isinstance(error, Failure | OSError | GuardOnDataDependentSymNode) or is_out_of_memory(error))
