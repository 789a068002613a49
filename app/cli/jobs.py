"""Commands that act on jobs of a running service, or wait for them: submit, wait, watch, cancel, stop, pause, resume, retry."""

import time
import uuid
from argparse import Namespace
from functools import partial
from typing import Any

from app.cli.address import running_line
from app.cli.client import LONGEST_WAIT, Client
from app.cli.closing import closing_text
from app.cli.errors import error_lines, shown
from app.cli.exits import Exit, Left, exit_of
from app.cli.follow import Follower
from app.cli.interrupts import Terminated, termination_raised
from app.cli.output import read_request, remark, write_json
from app.cli.progress import progress_for
from app.cli.running import watch as watch_to_the_end
from schemas.job import TERMINAL


def submit(arguments: Namespace) -> int:
    """Queue a job: its id, or its view, on stdout."""
    request, key = read_request(arguments.request), uuid.uuid4().hex
    return _queued(running_line().ask(lambda client: client.submit(request, key)), arguments)


def _queued(job: dict[str, Any], arguments: Namespace) -> int:
    if arguments.json:
        write_json(job)
        return Exit.SUCCESS
    print(job["jobId"])
    for number, warning in enumerate(job.get("warnings", []), start=1):
        remark("\n".join(["Warning:", *error_lines(warning, number)]))
    remark(f"{shown(job['summary'])}\nNext: pytorch-trainer watch {job['jobId']}")
    return Exit.SUCCESS


def wait(arguments: Namespace) -> int:
    """The payload of a job once it has settled; its view, and exit 3, when the wait ends before."""
    line, job_id = running_line(), arguments.job_id
    deadline = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    paused = False
    while True:
        left = LONGEST_WAIT if deadline is None else min(LONGEST_WAIT, max(0.0, deadline - time.monotonic()))
        job = line.ask(partial(Client.job, job_id=job_id, wait=left))
        if job["state"] in TERMINAL:
            payload = line.ask(lambda client: client.result(job_id))
            write_json(payload)
            return exit_of(payload)
        if job["state"] == "paused" and not paused:
            remark(f"{job_id} is paused. Let it go on: pytorch-trainer resume {job_id}")
        paused = job["state"] == "paused"
        if deadline is not None and time.monotonic() >= deadline:
            write_json(job)
            remark(f"The wait has ended and {job_id} is still {job['state']}.\nNext: pytorch-trainer wait {job_id}")
            return Exit.STILL_RUNNING


def watch(arguments: Namespace) -> int:
    """Show a job's progress to its end, then its payload when ``--json`` asks for it. Ctrl-C only leaves."""
    line, progress = running_line(), progress_for(quiet=arguments.quiet, verbose=arguments.verbose)
    follower = Follower(line, arguments.job_id)
    try:
        with termination_raised(), progress:
            payload = watch_to_the_end(follower, progress)
    except (KeyboardInterrupt, Terminated):
        raise Left(
            f"Left {arguments.job_id}; it goes on. Cancel it: pytorch-trainer cancel {arguments.job_id}",
        ) from None
    if arguments.json:
        write_json(payload)
    if not arguments.quiet:
        remark(closing_text(payload, progress.figures.checkpoint, line.client.address.url))
    return exit_of(payload)


def ask(arguments: Namespace) -> int:
    """Ask a job to cancel, stop, pause or resume; it does so a little later."""
    job = running_line().ask(lambda client: client.ask(arguments.job_id, arguments.action))
    if arguments.json:
        write_json(job)
    else:
        print(shown(job["summary"]))
        if job["state"] not in TERMINAL:
            remark(f"Next: {_NEXT.get(arguments.action, 'pytorch-trainer wait')} {job['jobId']}")
    return Exit.SUCCESS


_NEXT = {"pause": "pytorch-trainer resume", "resume": "pytorch-trainer watch"}


def retry(arguments: Namespace) -> int:
    """Queue a new job of the request of one that failed or was cancelled."""
    key = uuid.uuid4().hex
    return _queued(running_line().ask(lambda client: client.retry(arguments.job_id, key, arguments.anew)), arguments)
