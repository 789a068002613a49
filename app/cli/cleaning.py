"""Commands that delete jobs: those that are named, or those that are old."""

from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any

from app.cli.address import running_line
from app.cli.client import Client
from app.cli.errors import shown
from app.cli.exits import CommandError, Exit, Refusal
from app.cli.figures import count
from app.cli.follow import Line
from app.cli.output import remark, write_json
from app.clock import seconds_until
from schemas.job import TERMINAL

Json = dict[str, Any]

_PAGE = 200


def delete(arguments: Namespace) -> int:
    """Delete the jobs that are named; stops at the first that cannot be."""
    line = running_line()
    for job_id in arguments.job_ids:
        line.ask(partial(Client.delete, job_id=job_id))
        if not arguments.json:
            print(shown(job_id))
    if arguments.json:
        write_json({"deleted": arguments.job_ids})
    return Exit.SUCCESS


def clean(arguments: Namespace) -> int:
    """Delete what ended long ago, or all but the newest; those that others go on from are named and stay."""
    if arguments.older_than is None and arguments.keep is None:
        raise CommandError(Exit.INVALID_INPUT, "Say what is old: --older-than 30d, or --keep 100, or both.")
    line = running_line()
    doomed = [job["jobId"] for job in _doomed(line, arguments.older_than, arguments.keep)]
    kept: list[Json] = []
    for job_id in () if arguments.dry_run else doomed:
        try:
            line.ask(partial(Client.delete, job_id=job_id))
        except Refusal as refusal:
            if refusal.problem.get("status") != 409:
                raise
            kept.append({"jobId": job_id, "reason": refusal.problem["detail"]})
    stay = {each["jobId"] for each in kept}
    deleted = [job_id for job_id in doomed if job_id not in stay]
    if arguments.json:
        write_json({"dryRun": arguments.dry_run, "deleted": deleted, "kept": kept})
        return Exit.SUCCESS
    for job_id in deleted:
        print(job_id)
    for each in kept:
        remark(f"{each['jobId']} stays: {shown(each['reason'])}")
    remark(f"{count(len(deleted), 'job')} {'would be' if arguments.dry_run else 'are'} deleted.")
    return Exit.SUCCESS


def _doomed(line: Line, older_than: float | None, keep: int | None) -> list[Json]:
    """Oldest first, so that what others go on from is not asked for before them."""
    ended = sorted(_ended(line), key=lambda job: job["finishedAt"], reverse=True)
    found = [
        job
        for number, job in enumerate(ended, start=1)
        if (keep is not None and number > keep)
        or (older_than is not None and -seconds_until(job["finishedAt"]) > older_than)
    ]
    return found[::-1]


def _ended(line: Line) -> Iterator[Json]:
    cursor = None
    while True:
        ask = partial(Client.jobs, states=sorted(TERMINAL), limit=_PAGE, cursor=cursor)
        page = line.ask(ask)
        yield from page["jobs"]
        cursor = page.get("nextCursor")
        if cursor is None:
            return
