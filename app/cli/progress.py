"""Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from app.cli.figures import Figures, Notice, duration, rate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Learns from a job's events and shows nothing: the progress of ``--quiet``."""

    def __init__(self, verbose: bool = False) -> None:
        self.figures = Figures(verbose=verbose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Leave the screen as it is."""

    def show(self, event: dict[str, Any]) -> None:
        """Take one event."""
        self.figures.take(event)

    def say(self, text: str) -> None:
        """Show a line of the command's own."""


class Lines(Progress):
    """Plain lines: notices at once, figures at most one every ``seconds``."""

    def __init__(self, seconds: float = SECONDS_BETWEEN_LINES, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._seconds = seconds
        self._next = 0.0

    def show(self, event: dict[str, Any]) -> None:
        """Take one event and print what is due."""
        notice = self.figures.take(event)
        if notice is not None:
            self.say(notice.text if notice.level == "info" else f"{notice.level}: {notice.text}")
        elif event["type"] in ("step", "epoch.completed") and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._seconds
            self.say(line_of(self.figures))

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr, flush=True)


class Bar(Progress):
    """A live bar with two lines, and the notices above it."""

    def __init__(self, console: "Console", verbose: bool = False) -> None:
        from rich.live import Live

        super().__init__(verbose)
        self._console = console
        self._live = Live(_Screen(self.figures), console=console, refresh_per_second=8, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Take one event; the bar repaints itself."""
        notice = self.figures.take(event)
        if notice is not None:
            self._print(notice)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._print(Notice("info", text))

    def _print(self, notice: Notice) -> None:
        from rich.text import Text

        style = {"info": "dim", "warning": "yellow", "error": "bold red"}[notice.level]
        label = "" if notice.level == "info" else f"{notice.level}: "
        self._console.print(Text(label + notice.text, style=style), soft_wrap=True)


class _Screen:
    """The figures as two lines: how far, and how well. A spinner before there is anything to measure."""

    def __init__(self, figures: Figures) -> None:
        from rich.spinner import Spinner

        self._figures = figures
        self._spinner = Spinner("dots")

    def __rich__(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        figures, fraction = self._figures, self._figures.fraction
        if fraction is None:
            self._spinner.update(text=place_of(figures))
            return self._spinner
        far = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None, None):
            far.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(total=1.0, completed=fraction)
        far.add_row(place_of(figures), bar, f"{fraction:4.0%}", pace_of(figures))
        return Group(far, Text(quality_of(figures), no_wrap=True, overflow="ellipsis"))


def place_of(figures: Figures) -> str:
    """``epoch 3/20``, or the phase before and after the epochs."""
    if figures.epochs is None:
        return figures.phase
    place = f"epoch {figures.epoch}/{figures.epochs}"
    return place if figures.phase == "training" else f"{place}, {figures.phase}"


def pace_of(figures: Figures) -> str:
    """Steps, samples per second and time left, as far as known."""
    parts = []
    if figures.total_steps:
        parts.append(f"step {figures.step:,}/{figures.total_steps:,}")
    if figures.samples_per_second is not None:
        parts.append(rate(figures.samples_per_second))
    if figures.eta_seconds is not None and figures.phase == "training":
        parts.append(f"ETA {duration(figures.eta_seconds)}")
    return " · ".join(parts)


def quality_of(figures: Figures) -> str:
    """Losses and accuracies, as far as known."""
    named = (
        ("loss", figures.loss),
        ("accuracy", figures.accuracy),
        ("val loss", figures.val_loss),
        ("val accuracy", figures.val_accuracy),
    )
    return " · ".join(f"{name} {value:.4g}" for name, value in named if value is not None)


def line_of(figures: Figures) -> str:
    """All figures on one line."""
    best = "" if figures.best_epoch is None else f"best epoch {figures.best_epoch}"
    return " · ".join(part for part in (place_of(figures), quality_of(figures), best, pace_of(figures)) if part)


def progress_for(*, quiet: bool, verbose: bool = False) -> Progress:
    """The progress that suits standard error. ``verbose`` shows every line of the job's log, not only warnings."""
    if quiet:
        return Progress()
    if not sys.stderr.isatty():
        return Lines(verbose=verbose)
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return Lines(verbose=verbose) if console.is_dumb_terminal else Bar(console, verbose)
