"""The process that exports, as the worker sees it: started, heard, ended."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from trainer_core.export.messages import Word, Work

_LOOK_SECONDS = 0.2
# For a process that has said all to leave.
_LEAVE_SECONDS = 10.0


class ExportProcess:
    """The process that does ``work``. What it prints goes where this one's own output goes. Raises OSError when it cannot
    be started. Used with ``with``."""

    def __init__(self, work: Work, samples: bytes) -> None:
        self._hearing, speaking = os.pipe()
        try:
            with open(os.memfd_create("export"), "w+b") as told:
                told.write(work.model_dump_json(by_alias=True).encode() + b"\n" + samples)
                told.seek(0)
                # -P: no file of the user's may stand in for a module of this process.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "trainer_core.export.main", str(speaking), str(os.getpid())],
                    stdin=told,
                    cwd=work.assignment.attempt_folder,
                    env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
                    pass_fds=(speaking,),
                )
        except BaseException:
            os.close(self._hearing)
            raise
        finally:
            os.close(speaking)

    def words(self) -> Iterator[Word | None]:
        """What it says, until it has ended; None whenever it has said nothing for a moment."""
        heard = b""
        while True:
            ended = self._process.poll() is not None
            if not select.select([self._hearing], [], [], 0 if ended else _LOOK_SECONDS)[0]:
                # What it has started may have inherited the pipe.
                if ended:
                    return
                yield None
                continue
            piece = os.read(self._hearing, 65536)
            if not piece:
                return
            *lines, heard = (heard + piece).split(b"\n")
            yield from map(Word.model_validate_json, lines)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def wait(self) -> int:
        """Its exit status, or minus the number of the signal that ended it; one that does not leave is killed."""
        try:
            return self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Whatever happened, it is gone."""
        self.kill()
        self._process.wait()
        os.close(self._hearing)
