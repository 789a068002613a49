"""The process that exports: ``python -m trainer_core.export.main PIPE WORKER``, with its work on standard input.

One of its own because what it runs, torch's tracer and the model's code in it, may hang, crash, or take the process with it,
and a training that has ended well must not pay for it. It sees no GPU, and one line for each word that it has to say goes
into the pipe.
"""

import os
import resource
import signal
import sys

import torch

from schemas.exporting import ExportStage
from trainer_core.export.making import make
from trainer_core.export.messages import Word, Work
from trainer_core.export.subject import Subject
from trainer_core.leaving import die_with, leave


def main(pipe: int, worker: int) -> int:
    """Make each file that the work on standard input asks for, and say what came of it."""
    die_with(worker)
    # A stop is for the worker to hear: it ends this process where the export is to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    work = Work.model_validate_json(sys.stdin.buffer.readline())
    subject = Subject(work, sys.stdin.buffer.read())
    os.chdir(work.assignment.workspace)
    torch.set_num_threads(work.threads)
    if work.memory is not None:
        limit(work.memory)
    os.set_inheritable(pipe, False)
    with open(pipe, "wb", buffering=0) as line:
        for format in work.formats:

            def say(stage: ExportStage) -> None:
                line.write(_spelt(Word(format=format, stage=stage)))  # noqa: B023

            line.write(_spelt(Word(format=format, export=make(format, subject, work, say))))
    return 0


def limit(memory: int) -> None:
    """This process takes no more than ``memory``: asking for more fails, before the warden would end the job, and the training
    with it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # Linux takes a limit of 0 for none (may_expand_vm).
    most = max(resource.getpagesize(), memory)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _spelt(word: Word) -> bytes:
    return word.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


if __name__ == "__main__":
    leave(main(int(sys.argv[1]), int(sys.argv[2])))
