"""Where a run is tracked in MLflow, and how that may be spoken of."""

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.assignment import Assignment
from schemas.result import Tracking
from schemas.tracking import MlflowOptions

_USER_INFORMATION = re.compile(r"(?<=://)[^\s/]*@")
_SQLITE = "sqlite:///"


def without_credentials(text: str) -> str:
    """``text`` with ``user:password@`` taken out of every address in it."""
    return _USER_INFORMATION.sub("", text)


@dataclass(frozen=True)
class Destination:
    """A store, and the names of experiment and run in it. ``uri`` may hold a password: it is never reported."""

    uri: str
    experiment: str
    run_name: str

    @property
    def public_uri(self) -> str:
        """The address without user, password and query."""
        return without_credentials(self.uri).split("?")[0]

    @property
    def database(self) -> Path | None:
        """The file of an SQLite store; None for any other."""
        return Path(self.uri.removeprefix(_SQLITE).split("?")[0]) if self.uri.startswith(_SQLITE) else None

    def hide(self, text: str) -> str:
        """``text`` without this store's credentials."""
        return without_credentials(text.replace(self.uri, self.public_uri))

    def tracking(self, message: str | None, run_id: str | None = None) -> Tracking:
        """What the payload says: complete, or failed with ``message``."""
        return Tracking(
            tracker="mlflow",
            status="complete" if message is None else "failed",
            experiment=self.experiment,
            run_name=self.run_name,
            run_id=run_id,
            tracking_uri=self.public_uri,
            message=None if message is None else self.hide(message),
        )


def find_destination(assignment: Assignment) -> Destination | None:
    """The MLflow store of an attempt; None when the request switched it off or there is none, and on every node of a run
    but the first, which tracks it.

    A relative SQLite path is taken from the workspace, as every other path of a request.
    """
    config = assignment.request.tracking_config
    own = config.mlflow.tracking_uri if isinstance(config.mlflow, MlflowOptions) else None
    uri = own or assignment.mlflow_uri
    if config.mlflow is False or uri is None or assignment.request.training_config.node_rank > 0:
        return None
    if uri.startswith(_SQLITE):
        uri = _SQLITE + str(Path(assignment.workspace) / uri.removeprefix(_SQLITE))
    return Destination(uri, config.experiment, config.run_name or assignment.job_id)
