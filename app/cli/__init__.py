"""The command line: ``pytorch-trainer``, a client of the HTTP API with no rule of its own."""

from app.cli.entry import main

__all__ = ["main"]
