"""Where the service is: ``PT_URL``, or the one that runs on this ``PT_HOME``."""

import json
from dataclasses import dataclass
from pathlib import Path

from app.cli.client import Address, Client
from app.cli.exits import Unreachable
from app.cli.follow import Line
from app.instance import SERVICE_FILE
from app.settings import TOKEN_FILE, ClientSettings, Settings


@dataclass(frozen=True)
class Whereabouts:
    """What the environment says about the service a client should speak to."""

    home: Path
    url: str | None
    token: str | None

    @staticmethod
    def from_environment() -> "Whereabouts":
        """Raises ValueError naming a variable that is wrong."""
        client = ClientSettings.from_environment()
        return Whereabouts(Settings.from_environment().home, client.url, client.token)

    @property
    def token_file(self) -> Path:
        """Where the service that runs on this home keeps its token."""
        return self.home / TOKEN_FILE

    def read_token(self) -> str | None:
        """``PT_TOKEN``, else the token in the home folder, else None."""
        if self.token is not None:
            return self.token
        try:
            return self.token_file.read_text().strip() or None
        except FileNotFoundError:
            return None

    def read_url(self) -> str | None:
        """``PT_URL``, else what the service that runs on this home wrote down, else None."""
        if self.url is not None:
            return self.url
        try:
            said = json.loads((self.home / SERVICE_FILE).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return str(said["url"]) if isinstance(said, dict) and "url" in said else None

    def client(self) -> Client | None:
        """A client of the service that answers, or None."""
        url = self.read_url()
        if url is None:
            return None
        client = Client(Address(url, self.read_token()))
        if client.alive():
            return client
        client.close()
        return None

    def missing(self) -> Unreachable:
        """Nothing answered: what was tried, and the next move."""
        url = self.read_url()
        if self.url is not None:
            tried = f"PT_URL={self.url} does not answer."
        elif url is not None:
            tried = f"{url} (from {self.home / SERVICE_FILE}) does not answer, and PT_URL is not set."
        else:
            tried = f"No service runs on {self.home} (there is no {SERVICE_FILE}), and PT_URL is not set."
        return Unreachable(f"No service found. {tried}\nStart one: pytorch-trainer serve")


def running_line() -> Line:
    """A line to the service that runs; raises Unreachable when none answers."""
    return Line(_connect(0), _connect)


def _connect(_outage_seconds: float) -> Client:
    whereabouts = Whereabouts.from_environment()
    client = whereabouts.client()
    if client is None:
        raise whereabouts.missing()
    return client
