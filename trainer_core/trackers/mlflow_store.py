"""An MLflow store, opened: its database made when it is not there yet, its experiment found or created."""

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

from trainer_core.trackers.destination import Destination

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

ARTIFACT_FOLDER = "mlartifacts"


def _artifacts(database: Path) -> Path:
    return database.parent / ARTIFACT_FOLDER


def create_database(database: Path) -> None:
    """Make an MLflow database, whole or not at all, once however many processes ask for it at the same time.

    MLflow's migrations take seconds and are not one transaction: killed in their middle they would leave a file that
    no later run can use. So they are run on another file, which then gets the name.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.exists():
            return
        unfinished = database.with_name(database.name + ".new")
        unfinished.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", _artifacts(database).as_uri())
        store.engine.dispose()
        unfinished.rename(database)


def open_store(destination: Destination) -> "MlflowClient":
    """A client of the store. Raises whatever MLflow and its database raise when there is no reaching it."""
    from mlflow.tracking.client import MlflowClient

    if destination.database is not None and not destination.database.exists():
        create_database(destination.database)
    return MlflowClient(tracking_uri=destination.uri)


def find_experiment(client: "MlflowClient", destination: Destination) -> str:
    """The id of the experiment, created when absent. Artifacts of an SQLite store go beside its database."""
    from mlflow.exceptions import MlflowException

    name = destination.experiment
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(destination)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _artifact_location(destination: Destination) -> str | None:
    return None if destination.database is None else _artifacts(destination.database).as_uri()
