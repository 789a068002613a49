"""The entry of ``pytorch-trainer``: arguments in, one command, an exit code out."""

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import cast

from app.cli.exits import CommandError, Exit, Refusal
from app.cli.parser import build_parser

Command = Callable[[Namespace], int]

# What shells report for a process that SIGINT or SIGPIPE has ended.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; what Python would still flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _run(arguments: Namespace) -> int:
    try:
        return int(_command(arguments.door)(arguments))
    except Refusal as refusal:
        return _refused(refusal, arguments)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.code
    except ValueError as error:
        if not str(error).startswith("PT_"):
            raise
        print(error, file=sys.stderr)
        return Exit.INVALID_INPUT


def _command(door: str) -> Command:
    """The command behind ``module:function``, imported now: ``--help`` never pays for HTTP or tables."""
    module, function = door.split(":")
    return cast(Command, getattr(importlib.import_module(module), function))


def _refused(refusal: Refusal, arguments: Namespace) -> int:
    from app.cli.errors import problem_text
    from app.cli.output import remark, write_json

    if arguments.json or arguments.problem_on_stdout:
        write_json(refusal.problem)
    remark(problem_text(refusal.problem))
    return refusal.code
