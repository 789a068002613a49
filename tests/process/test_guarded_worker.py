"""What a worker reaches: real workers, whose model file tries what it should not."""

import json
import os
import socket
from pathlib import Path

import pytest

from app.isolation import why_not
from schemas.isolation import IsolationLevel
from tests.process.real_worker import has_ended, prepare, start
from trainer_core.guard import landlock

NEEDS_LANDLOCK = pytest.mark.skipif(
    landlock.version() < 6, reason="the kernel's Landlock is older than 6 or absent: Linux 6.12 has it"
)
SECRET = "canary-5f1c"
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, IPC_LOCK, SYS_NICE (capabilities(7)).
KEPT = 0b1000_0000_0100_0000_0001_1111

# What is tried, as Python expressions, with what the name says as the parts of the answer.
FORBIDDEN = {
    "the token": "open(HOME + '/token').read()",
    "the database, written": "open(HOME + '/pytorch-trainer.db', 'r+')",
    "the store of MLflow": "open(HOME + '/mlflow.db').read()",
    "another job": "open(HOME + '/jobs/job_2/model.py').read()",
    "the names of all jobs": "os.listdir(HOME + '/jobs')",
    "the environment of the service": "open(f'/proc/{SERVICE}/environ').read()",
    "the memory of the service": "open(f'/proc/{SERVICE}/mem', 'rb')",
    "the environment of its warden": "open(f'/proc/{os.getppid()}/environ').read()",
    "a signal to the service": "os.kill(SERVICE, 0)",
    "a signal to its warden": "os.kill(os.getppid(), 0)",
    "the user's own folder": "os.listdir(USER)",
    "its snapshot, written": "open(JOB + '/model.py', 'w')",
    "the workspace, written": "open('table.csv', 'r+')",
    "a link to the token": "open(link(HOME + '/token')).read()",
    "a hard link to the token": "os.link(HOME + '/token', RUN + '/token')",
    "the temporary files of all": "tempfile.NamedTemporaryFile(dir='/tmp')",
    "the token, by a program it starts": "shell('cat ' + HOME + '/token')",
    "the token, by a process of another session": "shell('setsid -w cat ' + HOME + '/token')",
    "an abstract socket of the service": "socket.socket(socket.AF_UNIX).connect(ABSTRACT)",
}
PERMITTED = {
    "its data": "open('table.csv').read()",
    "the run that its job goes on from": "open(HOME + '/jobs/job_0/run/best').read()",
    "a file of its run": "open(RUN + '/own', 'w').write('x')",
    "a temporary file": "tempfile.TemporaryFile().write(b'x')",
    "shared memory": "multiprocessing.shared_memory.SharedMemory(create=True, size=8).unlink()",
    "a pipe to a process of its own": "multiprocessing.get_context('fork').Pool(1).map(abs, [-1])",
    "a socket that loader processes send tensors through": "multiprocessing.connection.Listener().close()",
    "Python's library, by a program it starts": "shell(sys.executable + ' -c \"import json, sqlite3\"')",
    "a port of this machine": "socket.create_connection(('127.0.0.1', PORT), 5)",
    "nothing at all, written to": "open('/dev/null', 'w').write('x')",
    "its own environment": "open('/proc/self/environ').read()",
}
PROGRAM = """
import json, multiprocessing.connection, multiprocessing.shared_memory, os, resource, socket, subprocess, sys, tempfile

def shell(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

def link(target):
    os.symlink(target, RUN + '/link')
    return RUN + '/link'

def outcome_of(expression):
    try:
        eval(expression, globals())
    except (OSError, subprocess.CalledProcessError) as error:
        return type(error).__name__
    return 'done'

print('CAPABILITIES', [line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')][0])
limits = [resource.getrlimit(resource.RLIMIT_CORE)[1], int(open('/proc/self/oom_score_adj').read())]
limits += [int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('NoNewPrivs')]
print('LIMITS', json.dumps(limits))
print('TRIED', json.dumps({name: outcome_of(expression) for name, expression in TRIES.items()}))
sys.stdout.flush()
os._exit(0)
"""


def said(log: str, word: str) -> str:
    """The line of the log that begins with ``word``."""
    return next(line.removeprefix(word + " ") for line in log.splitlines() if line.startswith(word + " "))


@pytest.fixture(scope="module", params=["none", "guarded", "contained"])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[IsolationLevel, str]:
    """The level, and the log of a worker that has tried everything at that level."""
    if (reason := why_not(request.param)) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(f"{request.param}-in-a-home-that-lies-deep")
    listening, abstract = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0probe-{folder.name}-{os.getpid()}")
    abstract.listen()
    home, user = folder / "home", folder / "user"
    names = {
        "HOME": str(home),
        "USER": str(user),
        "JOB": str(home / "jobs/job_1"),
        "RUN": str(home / "jobs/job_1/run"),
        "SERVICE": os.getpid(),
        "PORT": listening.getsockname()[1],
        "ABSTRACT": abstract.getsockname(),
        "TRIES": FORBIDDEN | PERMITTED,
    }
    program = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + PROGRAM
    # One of them was deleted.
    origins = [str(home / "jobs" / job_id / "run") for job_id in ("job_0", "job_deleted")]
    attempt = prepare(folder, program, isolation=request.param, readable=origins)
    user.mkdir()
    for path in (
        "token",
        "pytorch-trainer.db",
        "mlflow.db",
        "jobs/job_2/model.py",
        "jobs/job_1/run/own",
        "jobs/job_0/run/best",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(SECRET)
    with listening, abstract:
        worker = start(attempt)
        assert has_ended(worker.pid)
        worker.clear()
    return request.param, attempt.log.read_text()


@NEEDS_LANDLOCK
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_guarded_worker_does_not_reach(tried: tuple[IsolationLevel, str], name: str):
    level, log = tried
    # What an unguarded one reaches shows that the probe would have worked.
    assert (json.loads(said(log, "TRIED"))[name] == "done") == (level == "none")


@pytest.mark.parametrize("name", PERMITTED)
def test_a_guarded_worker_has(tried: tuple[IsolationLevel, str], name: str):
    level, log = tried
    assert (json.loads(said(log, "TRIED"))[name] == "done") == (
        level != "contained" or name != "a port of this machine"
    )


def test_a_guarded_worker_has_no_rights_of_root_but_those_on_files(tried: tuple[IsolationLevel, str]):
    level, log = tried
    rights = int(said(log, "CAPABILITIES"), 16)
    beyond = rights & ~KEPT
    assert beyond == 0 or level == "none"


def test_a_guarded_worker_dumps_no_core_gains_nothing_and_is_ended_before_the_service(
    tried: tuple[IsolationLevel, str],
):
    level, log = tried
    core, score, no_new_privileges = json.loads(said(log, "LIMITS"))
    if level == "none":
        assert no_new_privileges == 0
    else:
        assert (core, no_new_privileges) == (0, 1)
        # Of two that want memory which is not there, the kernel ends the one with the higher score.
        assert score >= int(Path("/proc/self/oom_score_adj").read_text()) + 500
