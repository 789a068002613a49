"""A run in MLflow as it was at an earlier point. MLflow takes no figure back, so a copy takes the run's place."""

from typing import TYPE_CHECKING

from trainer_core.trackers.mlflow_entries import JOB_ID_TAG, is_of_a_step

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

REPLACES_TAG = "pytorch_trainer.replaces"
REPLACED_TAG = "pytorch_trainer.replaced_by"

FIGURES_PER_CALL = 1000
NAMES_PER_CALL = 100


def copy_until(client: "MlflowClient", run_id: str, *, step: int, epoch: int) -> str:
    """The id of a run with the figures of ``run_id`` up to ``step`` and ``epoch``, and all of its parameters and tags. The
    earlier run is deleted, as MLflow deletes: it can be looked at, and restored.

    Stopped in its middle it leaves the earlier run in force, or, at its very end, both: the copy then says which it replaces.
    """
    from mlflow.entities import Param, RunTag

    old = client.get_run(run_id)
    new = client.create_run(old.info.experiment_id, old.info.start_time, run_name=old.info.run_name).info.run_id
    for key in old.data.metrics:
        bound = step if is_of_a_step(key) else epoch
        points = [point for point in client.get_metric_history(run_id, key) if point.step <= bound]
        for start in range(0, len(points), FIGURES_PER_CALL):
            client.log_batch(new, metrics=points[start : start + FIGURES_PER_CALL])
    parameters = [Param(key, value) for key, value in old.data.params.items()]
    tags = [RunTag(key, value) for key, value in old.data.tags.items() if key != JOB_ID_TAG]
    for start in range(0, max(len(parameters), len(tags)), NAMES_PER_CALL):
        names = slice(start, start + NAMES_PER_CALL)
        client.log_batch(new, params=parameters[names], tags=tags[names])
    client.set_tag(new, REPLACES_TAG, run_id)
    client.set_tag(new, JOB_ID_TAG, old.data.tags[JOB_ID_TAG])
    client.set_tag(run_id, REPLACED_TAG, new)
    client.set_terminated(run_id, "KILLED")
    client.delete_run(run_id)
    return str(new)
