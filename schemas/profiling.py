"""A few steps of a run under torch's profiler."""

from typing import Annotated

from pydantic import Field

from schemas.base import Document


class Profiler(Document):
    """Steps that are profiled, as ``torch.profiler.schedule`` counts them, and what is noted of them. ``trace.json.gz`` (for
    chrome://tracing or ui.perfetto.dev) and ``profile.txt`` (the operations that took the most time) are then artifacts."""

    wait: Annotated[int, Field(ge=0, le=1000000, description="Optimizer steps before it.")] = 1
    warmup: Annotated[
        int,
        Field(ge=0, le=100, description="Steps after those, profiled and thrown away: the profiler itself starts up."),
    ] = 1
    active: Annotated[int, Field(ge=1, le=50, description="Steps after those, which are in the trace.")] = 3
    record_shapes: Annotated[bool, Field(description="Note the shapes of what operations get.")] = False
    profile_memory: Annotated[bool, Field(description="Note what operations allocate and free.")] = False
    with_stack: Annotated[bool, Field(description="Note file and line of each operation; slow.")] = False

    @property
    def steps(self) -> int:
        """Steps of the run until the trace is complete."""
        return self.wait + self.warmup + self.active
