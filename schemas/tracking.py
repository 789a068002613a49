"""Where a run is tracked beside its own event log."""

from typing import Annotated

from pydantic import Field

from schemas.base import Document


class MlflowOptions(Document):
    """MLflow store of one run."""

    tracking_uri: Annotated[
        str | None, Field(min_length=1, description="Absent: the service's own store (PT_MLFLOW_URI).")
    ] = None


class TrackingConfig(Document):
    """Trackers of a run. The event log and metrics.csv are always written."""

    experiment: Annotated[str, Field(min_length=1, max_length=256, description="Experiment name.")] = "pytorch-trainer"
    run_name: Annotated[str | None, Field(min_length=1, max_length=256, description="Absent: the job id.")] = None
    tags: Annotated[dict[str, str], Field(description="Tags of the run.")] = Field(default_factory=dict)
    mlflow: Annotated[
        bool | MlflowOptions, Field(description="true, false, or options. A store that fails never fails the job.")
    ] = True
