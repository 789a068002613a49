"""A worker takes SIGTERM as a request to stop; a process that its user's code has forked ends by it."""

import os
import signal
import subprocess
import sys

PROGRAM = """
import os, signal
from trainer_core.stop import Stop

stop = Stop()
stop.listen()
ready, told = os.pipe()
child = os.fork()
if not child:
    os.write(told, b"1")
    while True:
        signal.pause()
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os.kill(os.getpid(), signal.SIGTERM)
print(ended, stop.requested)
"""


def test_sigterm_asks_a_worker_and_ends_what_it_has_forked():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout.split() == [str(-signal.SIGTERM), "True"], done.stderr
