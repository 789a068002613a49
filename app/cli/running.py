"""``run``: train through a service and print the payload; Ctrl-C cancels and keeps a checkpoint."""

import uuid
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from app.cli.closing import closing_text
from app.cli.embedded import Host
from app.cli.exits import Exit, Left, Refusal, exit_of
from app.cli.follow import Follower, Line
from app.cli.interrupts import Terminated, interrupts_held, termination_raised
from app.cli.output import read_request, remark, write_json
from app.cli.progress import Progress, progress_for

Json = dict[str, Any]


def run(arguments: Namespace) -> int:
    """Train; the exit code says how it ended."""
    progress = progress_for(quiet=arguments.quiet, verbose=arguments.verbose)
    return run_request(read_request(arguments.request), progress, quiet=arguments.quiet, overrides={})


def run_request(request: bytes, progress: Progress, *, quiet: bool, overrides: Mapping[str, str]) -> Exit:
    """Train, through the service that runs or one of our own with ``overrides``; print the payload."""
    with Host(overrides) as host:
        line = host.line()
        payload = train(line, request, progress)
        write_json(payload)
        if not quiet:
            url = None if host.embedded else line.client.address.url
            remark(closing_text(payload, progress.figures.checkpoint, url))
    return exit_of(payload)


def train(line: Line, request: bytes, progress: Progress) -> Json:
    """Submit the request, show its progress, and return its payload, whatever it says.

    Ctrl-C cancels the job and waits until it has settled. A second one, or SIGTERM, leaves: ``Left`` names the job.
    """
    key, follower = uuid.uuid4().hex, None
    try:
        with termination_raised(), progress:
            try:
                with interrupts_held():
                    job = line.ask(lambda client: client.submit(request, key))
                    follower = Follower(line, job["jobId"])
                progress.say(f"{follower.job_id} {job['summary']}")
                return watch(follower, progress)
            except KeyboardInterrupt:
                if follower is None:
                    raise
                return _cancel(line, follower, progress)
    except (KeyboardInterrupt, Terminated):
        if follower is None:
            raise
        raise _left(follower.job_id) from None


def watch(follower: Follower, progress: Progress) -> Json:
    """Show events until the job has settled; its payload."""
    for event in follower:
        progress.show(event)
        if event["type"] == "job.completed":
            payload: Json = event["data"]["output"]
            return payload
    raise AssertionError("a follower ends with job.completed")


def _cancel(line: Line, follower: Follower, progress: Progress) -> Json:
    progress.say(f"Ctrl-C: cancelling {follower.job_id}. Once more leaves at once.")
    try:
        line.ask(lambda client: client.ask(follower.job_id, "cancel"))
    except Refusal as refusal:
        # 409: it has settled meanwhile, and its last event says how.
        if refusal.problem.get("status") != 409:
            raise
    return watch(follower, progress)


def _left(job_id: str) -> Left:
    return Left(
        f"Left {job_id}, which has not settled. See how it ends: pytorch-trainer watch {job_id}\n"
        "(When no service runs any more, start one first: pytorch-trainer serve. It takes the job over.)"
    )
