"""When checkpoints are written, where, and from which one a run starts."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Document
from schemas.metrics import MONITOR_PATTERN

# Files in a run's folder with the name of a checkpoint there; ``latest`` alone means the newest of all runs.
LATEST = "latest"
BEST = "best"
# In a checkpoint's folder: the file that is written last, and makes it one.
MANIFEST_FILE = "manifest.json"


class CheckpointConfig(Document):
    """Checkpoints of a run. ``last`` and ``best`` are always kept."""

    save_dir: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Folder under which the run's folder (named by the job) is made; absent: the job's own folder.",
        ),
    ] = None
    save_every: Annotated[
        int,
        Field(ge=1, description="Epochs between two checkpoints; the best epoch and the last are saved beside them."),
    ] = 1
    save_every_steps: Annotated[
        int | None, Field(ge=1, description="Also save after every so many optimizer steps, in mid-epoch.")
    ] = None
    keep_last: Annotated[
        int, Field(ge=1, le=10000, description="How many of the newest checkpoints stay, beside the best.")
    ] = 2
    monitor: Annotated[
        str | None,
        Field(
            pattern=MONITOR_PATTERN, description="Metric that names the best; absent: earlyStopping's, else valLoss."
        ),
    ] = None
    mode: Annotated[Literal["min", "max"] | None, Field(description="Absent: min for losses and errors, else max.")] = (
        None
    )
    async_save: Annotated[
        bool,
        Field(
            description="Training goes on while a checkpoint is written, from a copy of the state in host memory; false, and where there is no room for the copy: it waits for the disk."
        ),
    ] = True
    resume_from: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A checkpoint's folder; a run's folder (its newest checkpoint), with /best its best one; or latest: the run with the newest one under saveDir when the job is accepted, which resolved names.",
        ),
    ] = None
