"""Settings of the service: the one place of ``app`` that reads the environment."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast, get_args

from platformdirs import user_data_path

from schemas.isolation import LEVELS, IsolationLevel
from schemas.webhooks import WebhookEvent

DEFAULT_PORT = 8000
TOKEN_FILE = "token"

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Settings:
    """Where things are and how much may run. ``from_environment`` reads the ``PT_`` variables."""

    home: Path
    workspace: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    devices: tuple[str, ...] = ("cpu",)
    slots: int = 1
    warm: bool = False
    mlflow_uri: str | None = None
    auth: bool = True
    cancel_grace_seconds: float = 20.0
    retry_rest_seconds: float = 2.0
    idle_silence_seconds: float = 1800.0
    max_event_bytes: int = 1 << 30
    disk_floor_bytes: int = 256 << 20
    keep_alive_seconds: float = 15.0
    max_body_bytes: int = 1024 * 1024
    head_seconds: float = 20.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    max_queued_jobs: int = 10_000
    requests_per_minute: int = 6000
    max_open_requests: int = 2000
    keep_days: int = 0
    keep_jobs: int = 0
    keep_bytes: int = 0
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    isolation: IsolationLevel = "guarded"
    readable: tuple[Path, ...] = ()
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    traced: bool = False
    drain_seconds: float = 0.0
    webhook_hosts: tuple[str, ...] = ()
    webhook_url: str | None = None
    webhook_events: tuple[WebhookEvent, ...] = ("job.completed",)
    webhook_first_wait_seconds: float = 5.0
    webhook_seconds: float = 10.0

    @staticmethod
    def from_environment(overrides: Mapping[str, str] = MappingProxyType({})) -> "Settings":
        """Defaults, overridden by ``PT_HOME``, ``PT_WORKSPACE``, ``PT_HOST``, ``PT_PORT``, ``PT_DEVICES``,
        ``PT_SLOTS`` (jobs at once on the CPU; a GPU has one), ``PT_WARM`` (workers on the CPU are forked from a process that
        has torch loaded), ``PT_MLFLOW_URI`` (``off`` for no MLflow), ``PT_DISK_FLOOR_MIB`` (kept free),
        ``PT_ALLOWED_HOSTS`` (names beside loopback), ``PT_GUARD`` (the least isolation of a worker), ``PT_READABLE``
        (what a guarded worker may read beside the workspace, separated by colons), ``PT_LOG_FORMAT``, ``PT_LOG_LEVEL``, ``PT_DRAIN_SECONDS``,
        ``PT_RATE_LIMIT`` (requests a minute with one token; 0 for no limit),
        ``PT_WEBHOOK_URL``, ``PT_WEBHOOK_EVENTS``, ``PT_WEBHOOK_HOSTS`` (hosts that need be neither public nor https),
        ``PT_KEEP_DAYS``, ``PT_KEEP_JOBS`` and ``PT_KEEP_GIB`` (of the jobs that have settled; 0 keeps all), and these by
        ``overrides``, under the same names.
        Raises ValueError naming a variable that is wrong."""
        said = {**os.environ, **overrides}
        home = Path(said.get("PT_HOME") or user_data_path("pytorch-trainer", appauthor=False)).expanduser().resolve()
        workspace = Path(said.get("PT_WORKSPACE") or ".").expanduser().resolve()
        mlflow = said.get("PT_MLFLOW_URI") or f"sqlite:///{home / 'mlflow.db'}"
        return Settings(
            home=home,
            workspace=workspace,
            host=said.get("PT_HOST") or "127.0.0.1",
            port=_whole_number(said, "PT_PORT", DEFAULT_PORT, 0, 65535),
            devices=_devices(said.get("PT_DEVICES") or "auto"),
            slots=_whole_number(said, "PT_SLOTS", 1, 1, 1024),
            warm=_one_of(said, "PT_WARM", "on", ("on", "off")) == "on",
            mlflow_uri=None if mlflow == "off" else mlflow,
            disk_floor_bytes=_whole_number(said, "PT_DISK_FLOOR_MIB", 256, 0, 1 << 30) << 20,
            allowed_hosts=(*LOOPBACK_HOSTS, *_names(said.get("PT_ALLOWED_HOSTS", ""))),
            requests_per_minute=_whole_number(said, "PT_RATE_LIMIT", 6000, 0, 1_000_000),
            keep_days=_whole_number(said, "PT_KEEP_DAYS", 0, 0, 36_500),
            keep_jobs=_whole_number(said, "PT_KEEP_JOBS", 0, 0, 1 << 30),
            keep_bytes=_whole_number(said, "PT_KEEP_GIB", 0, 0, 1 << 30) << 30,
            isolation=_level(said.get("PT_GUARD") or "guarded"),
            readable=tuple(_folders(said.get("PT_READABLE", ""))),
            log_format=cast(LogFormat, _one_of(said, "PT_LOG_FORMAT", "text", get_args(LogFormat))),
            traced=_traced(said),
            drain_seconds=_whole_number(said, "PT_DRAIN_SECONDS", 0, 0, 3600),
            webhook_hosts=_names(said.get("PT_WEBHOOK_HOSTS", "")),
            webhook_url=said.get("PT_WEBHOOK_URL") or None,
            webhook_events=tuple(_webhook_events(said.get("PT_WEBHOOK_EVENTS") or "job.completed")),
            log_level=cast(LogLevel, _one_of(said, "PT_LOG_LEVEL", "info", get_args(LogLevel))),
        )

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "pytorch-trainer.db"

    @property
    def token_file(self) -> Path:
        """The file with the token, readable by its owner alone."""
        return self.home / TOKEN_FILE

    @property
    def webhook_secret_file(self) -> Path:
        """The file with the secret that webhooks are signed with, readable by its owner alone."""
        return self.home / "webhook-secret"

    @property
    def jobs(self) -> Path:
        """The folder with one folder per job."""
        return self.home / "jobs"


_INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "GLIBC_TUNABLES"}
)
_LIBRARIES = ("CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "TORCH", "OMP_", "MKL_", "OPENBLAS_", "MALLOC_")
_INHERITED_FAMILIES = ("LC_", "PYTHON", *_LIBRARIES)
_SECRETS = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def worker_environment() -> dict[str, str]:
    """What a worker, which runs code of the user, gets of this process's environment: named variables, no secrets."""
    return {
        name: value
        for name, value in os.environ.items()
        if (name in _INHERITED or name.startswith(_INHERITED_FAMILIES)) and not any(word in name for word in _SECRETS)
    }


@dataclass(frozen=True)
class ClientSettings:
    """Where a client finds the service: ``PT_URL`` and ``PT_TOKEN``, when they are set."""

    url: str | None
    token: str | None

    @staticmethod
    def from_environment() -> "ClientSettings":
        """What the environment says. Raises ValueError when ``PT_URL`` is no URL."""
        url = os.environ.get("PT_URL") or None
        if url is not None and not re.fullmatch(
            r"https?://[^\s/?#\[\]]+|https?://\[[0-9a-fA-F:]+\](:\d+)?", url.rstrip("/")
        ):
            raise ValueError(f"PT_URL={url!r}: expected a URL such as http://127.0.0.1:8000")
        return ClientSettings(url and url.rstrip("/"), os.environ.get("PT_TOKEN") or None)


def require_workspace(settings: Settings) -> None:
    """Raises ValueError when there is no folder to work in: every request would name paths that do not exist."""
    if not settings.workspace.is_dir():
        raise ValueError(
            f"The workspace {settings.workspace} is no folder. Make it, or set PT_WORKSPACE to another one."
        )


def _whole_number(said: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = said.get(name)
    if not text:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name}={text!r}: expected a whole number from {low} to {high}")
    return int(text)


def _level(text: str) -> IsolationLevel:
    level = next((level for level in LEVELS if level == text), None)
    if level is None:
        raise ValueError(f"PT_GUARD={text!r}: expected one of {', '.join(LEVELS)}")
    return level


def _folders(text: str) -> Iterator[Path]:
    for part in text.split(os.pathsep):
        path = Path(part).expanduser()
        if part and not path.exists():
            raise ValueError(f"PT_READABLE={text!r}: there is no {path}")
        if part:
            yield path.resolve()


def _one_of(said: Mapping[str, str], name: str, default: str, choices: Sequence[str]) -> str:
    text = (said.get(name) or default).lower()
    if text not in choices:
        raise ValueError(f"{name}={text!r}: expected one of {', '.join(choices)}")
    return text


def _traced(said: Mapping[str, str]) -> bool:
    """Whether the variables that OpenTelemetry has for all programs name a collector."""
    named = said.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or said.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    off = said.get("OTEL_SDK_DISABLED", "").lower() == "true" or said.get("OTEL_TRACES_EXPORTER") == "none"
    return bool(named) and not off


def _webhook_events(text: str) -> Iterator[WebhookEvent]:
    for name in _names(text):
        event = next((event for event in get_args(WebhookEvent) if event == name), None)
        if event is None:
            raise ValueError(f"PT_WEBHOOK_EVENTS={text!r}: expected some of {', '.join(get_args(WebhookEvent))}")
        yield event


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _devices(text: str) -> tuple[str, ...]:
    """``auto``: every NVIDIA device file found, else ``cpu``; else a comma-separated list such as ``cuda:0,cuda:1``."""
    if text == "auto":
        found = sorted(int(path.name[6:]) for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdecimal())
        return tuple(f"cuda:{index}" for index, _ in enumerate(found)) or ("cpu",)
    devices = _names(text)
    wrong = [name for name in devices if name != "cpu" and not (name.startswith("cuda:") and name[5:].isdecimal())]
    if wrong or not devices:
        raise ValueError(f"PT_DEVICES={text!r}: expected auto, cpu, or a list such as cuda:0,cuda:1")
    return devices
