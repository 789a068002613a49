"""Commands that show jobs and the service: status, list, logs."""

from argparse import Namespace
from typing import Any

from app.cli.address import running_line
from app.cli.errors import shown
from app.cli.exits import Exit
from app.cli.figures import count, duration, rate
from app.cli.follow import Line
from app.cli.output import remark, write_json, write_table
from schemas.job import TERMINAL

Json = dict[str, Any]


def status(arguments: Namespace) -> int:
    """A job, or the service."""
    line = running_line()
    if arguments.job_id is None:
        return _service_status(line, arguments)
    job = line.ask(lambda client: client.job(arguments.job_id))
    if arguments.json:
        write_json(job)
    else:
        write_table(("job", job["jobId"]), _rows_of(job))
    return Exit.SUCCESS


def list_jobs(arguments: Namespace) -> int:
    """Jobs, newest first."""
    page = running_line().ask(lambda client: client.jobs(arguments.state, arguments.label, arguments.limit))
    if arguments.json:
        write_json(page)
        return Exit.SUCCESS
    if not page["jobs"]:
        remark("No jobs. Queue one: pytorch-trainer submit request.json")
        return Exit.SUCCESS
    write_table(
        ("job", "state", "engine", "progress", "created", "labels"),
        (
            (job["jobId"], job["state"], job["engine"], _progress_of(job), job["createdAt"], _labels_of(job))
            for job in page["jobs"]
        ),
    )
    if page.get("nextCursor"):
        remark(f"More than {count(arguments.limit, 'job')}; see the others with a higher --limit.")
    return Exit.SUCCESS


def logs(arguments: Namespace) -> int:
    """The end of a worker's log."""
    log = running_line().ask(lambda client: client.logs(arguments.job_id, arguments.tail))
    if arguments.json:
        write_json(log)
    elif log["untrusted"]:
        print(log["untrusted"], end="")
    else:
        remark(f"The worker of {arguments.job_id} has printed nothing.")
    return Exit.SUCCESS


def _service_status(line: Line, arguments: Namespace) -> int:
    found = line.ask(lambda client: client.capabilities())
    if arguments.json:
        write_json(found)
        return Exit.SUCCESS
    url = line.client.address.url
    rows = [
        ("docs", f"{url}/docs"),
        ("workspace", found["workspace"]),
        ("engines", ", ".join(engine["name"] for engine in found["engines"])),
        ("devices", f"{', '.join(found['devices'])} ({count(found['slots'], 'job')} at once on each)"),
        ("version", found["versions"]["pytorch-trainer"]),
    ]
    write_table(("service", url), rows)
    return Exit.SUCCESS


def _rows_of(job: Json) -> list[tuple[str, str]]:
    rows = [("state", job["state"]), ("summary", shown(job["summary"])), ("engine", job["engine"])]
    if reason := job.get("reason"):
        rows.append(("reason", f"{reason['code']}: {shown(reason['message'])}"))
    if progress := _progress_of(job):
        rows.append(("progress", progress))
    times = (("created", "createdAt"), ("started", "startedAt"), ("finished", "finishedAt"))
    rows.extend((name, job[key]) for name, key in times if key in job)
    rows.append(("attempt", str(job["attempt"])))
    if job["labels"]:
        rows.append(("labels", _labels_of(job)))
    if job["allowedActions"]:
        rows.append(("allowed", ", ".join(job["allowedActions"])))
    return rows


def _progress_of(job: Json) -> str:
    progress = job["progress"]
    parts = [f"epoch {progress['epoch']}/{progress['epochs']}"] if "epochs" in progress and "epoch" in progress else []
    named = (("loss", "loss"), ("accuracy", "accuracy"), ("val loss", "valLoss"), ("val accuracy", "valAccuracy"))
    parts.extend(f"{name} {progress[key]:.4g}" for name, key in named if key in progress)
    if "samplesPerSecond" in progress:
        parts.append(rate(progress["samplesPerSecond"]))
    if "etaSeconds" in progress and job["state"] not in TERMINAL:
        parts.append(f"ETA {duration(progress['etaSeconds'])}")
    return " · ".join(parts)


def _labels_of(job: Json) -> str:
    return ", ".join(shown(f"{name}={value}") for name, value in job["labels"].items())
