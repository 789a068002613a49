"""The words of the command line: every command, its arguments, and one example of it."""

import argparse
from collections.abc import Callable

Parser = argparse.ArgumentParser
Adder = Callable[..., Parser]

_DESCRIPTION = """\
A training run as one command: one JSON in, a PyTorch training in a worker process,
progress streamed, one schema-valid JSON out."""

_EPILOG = """\
exit codes:
  0 success or early_stopped    1 training error    2 invalid input: nothing was queued
  3 still running when the wait ended    4 cancelled    5 no service reachable

environment:
  PT_HOME       data folder: database, jobs, token (default: the user's data directory)
  PT_WORKSPACE  root of the paths a request may name (default: the current folder)
  PT_URL        the service to speak to (default: the one that runs on PT_HOME)
  PT_TOKEN      its token (default: read from PT_HOME)
  PT_HOST, PT_PORT, PT_DEVICES, PT_SLOTS, PT_MLFLOW_URI   see: pytorch-trainer serve --help
  PT_WARM            on: workers are forked from a process that has torch loaded, and train at once (default on)
  PT_RATE_LIMIT      requests a minute with one token, 0 for no limit (default 6000)
  PT_KEEP_DAYS, PT_KEEP_JOBS, PT_KEEP_GIB  what is kept of ended jobs (default 0: everything)
  PT_DISK_FLOOR_MIB  free space below which nothing new is begun (default 256)
  PT_DRAIN_SECONDS   how long `serve`, told to end, still answers that it takes no more (default 0)
  PT_LOG_FORMAT, PT_LOG_LEVEL  text or json; debug, info, warning or error (default text, info)
  PT_WEBHOOK_URL, PT_WEBHOOK_EVENTS  who is told of every job (default: nobody; job.completed)
  PT_WEBHOOK_HOSTS   hosts a webhook may go to without TLS or a public address (default: none)
  PT_ALLOWED_HOSTS   names beside loopback that clients may call the service by (default: none)

example: pytorch-trainer run request.json > payload.json"""


def build_parser() -> Parser:
    """The parser of every command; ``door`` names the function that carries it out."""
    parser = Parser(
        prog="pytorch-trainer",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def add(name: str, door: str, summary: str, example: str, more: str = "") -> Parser:
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.{more and chr(10) + chr(10) + more}",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(door=f"app.cli.{door}", problem_on_stdout=False)
        command.add_argument("--json", action="store_true", help="print machine-readable JSON alone on stdout")
        return command

    _add_run_commands(add)
    _add_job_commands(add)
    _add_service_commands(add)
    _add_schema_command(add)
    return parser


class _Version(argparse.Action):
    """``--version``, which looks the version up only when asked."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and leave")

    def __call__(self, parser: Parser, *_: object) -> None:
        from importlib.metadata import version

        print(f"pytorch-trainer {version('pytorch-trainer')}")
        parser.exit()


_RUN_MORE = """\
Uses the service that runs on PT_HOME (or PT_URL); when there is none, starts one for the
length of this command. The payload goes to stdout, alone; progress to stderr. A refused
request: its problem document on stdout, every error on stderr, exit 2.

Ctrl-C cancels the job, waits until its checkpoint is saved and prints the payload (exit 4);
a second Ctrl-C leaves at once (exit 3). When this command is killed, the service it started
ends too, but the training goes on in its worker, and the next service on the same PT_HOME
(serve or run) adopts it: nothing is lost."""

_DEMO_MORE = """\
Writes the 1,797 scanned digits that come with scikit-learn as images, starts the service,
posts examples/digits/request.json, shows the progress on stderr and prints the payload
alone on stdout. Needs a checkout of the repository."""


def _add_service_commands(add: Adder) -> None:
    serve = add("serve", "serving:serve", "start the service", "pytorch-trainer serve --workspace ~/project")
    serve.add_argument("--home", metavar="FOLDER", help="data folder: database, jobs, token (PT_HOME)")
    serve.add_argument("--workspace", metavar="FOLDER", help="root of the paths a request may name (PT_WORKSPACE)")
    serve.add_argument("--host", help="address to listen on (PT_HOST, default 127.0.0.1)")
    serve.add_argument("--port", type=_port, help="port to listen on, 0 for a free one (PT_PORT, default 8000)")
    serve.add_argument("--devices", help="auto, cpu, or a list such as cuda:0,cuda:1 (PT_DEVICES, default auto)")
    serve.add_argument(
        "--slots", type=_positive, help="jobs that may run at once on the CPU; a GPU has one (PT_SLOTS, default 1)"
    )
    serve.add_argument("--mlflow-uri", metavar="URI", help="MLflow store, or off (PT_MLFLOW_URI, default in the home)")
    serve.add_argument("--no-auth", action="store_true", help="ask for no token; only on a loopback address")
    _add_token_commands(add)
    _add_webhook_commands(add)


_TOKEN_MORE = """\
Without a word behind it: prints the owner's token, which may do everything. With one, others:
create, list and revoke tokens with scopes. read: look. submit: queue trainings (they run code).
control: pause, resume, stop, cancel, delete. admin: everything, tokens too. Each can read."""


def _add_token_commands(add: Adder) -> None:
    token = add("token", "tokens:owners", "print the service's token, or make others", _TOKEN_EXAMPLE, _TOKEN_MORE)
    token.add_argument("--path", action="store_true", help="print the file that holds it instead")
    words = token.add_subparsers(metavar="create | list | revoke", title="other tokens")

    def add_word(name: str, door: str, summary: str, example: str) -> Parser:
        word = words.add_parser(name, help=summary, description=f"{summary}.", epilog=f"example: {example}")
        word.set_defaults(door=f"app.cli.tokens:{door}")
        word.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON alone on stdout")
        return word

    create = add_word("create", "create", "make a token; it is printed this once", _TOKEN_EXAMPLE)
    create.add_argument("--name", required=True, help="who will use it; no two are alike")
    create.add_argument(
        "--scope", required=True, action="append", choices=_SCOPES, help="what it may do (repeatable); each can read"
    )
    create.add_argument("--expires", type=_duration, metavar="30d", help="when it ends: 12h, 30d, 8w (default: never)")
    add_word("list", "list_tokens", "list the tokens, by how each begins", "pytorch-trainer token list")
    revoke = add_word("revoke", "revoke", "end a token", "pytorch-trainer token revoke ci")
    revoke.add_argument("token", metavar="NAME|ID", help="its name or its id")


_WEBHOOK_MORE = """\
Receivers of webhooks check signatures with the secret; whoever has it can sign as this service.
After rotate both the new one and the one before sign, so that receivers can change one by one."""


def _add_webhook_commands(add: Adder) -> None:
    example = "pytorch-trainer webhook rotate --overlap 2d"
    webhook = add(
        "webhook", "webhooks:secret", "print or replace what webhooks are signed with", example, _WEBHOOK_MORE
    )
    words = webhook.add_subparsers(metavar="secret | rotate", title="words", required=True)
    secret = words.add_parser("secret", help="print the secret, which is made when there is none yet")
    rotate = words.add_parser("rotate", help="make a new secret and print it")
    rotate.add_argument(
        "--overlap",
        type=_overlap,
        default=86_400.0,
        metavar="24h",
        help="how long those before sign beside it; 0s: they end now (default 24h)",
    )
    for word, door in ((secret, "secret"), (rotate, "rotate")):
        word.set_defaults(door=f"app.cli.webhooks:{door}")
        word.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON alone on stdout")


_SCOPES = ("read", "submit", "control", "admin")
_TOKEN_EXAMPLE = "pytorch-trainer token create --name ci --scope submit --expires 30d"


def _add_run_commands(add: Adder) -> None:
    run = add("run", "running:run", "train, and print the payload", "pytorch-trainer run request.json", _RUN_MORE)
    demo = add("demo", "demo:demo", "train on real scanned digits", "pytorch-trainer demo", _DEMO_MORE)
    submit = add(
        "submit", "jobs:submit", "queue a training and print its job id", "pytorch-trainer submit request.json"
    )
    plan = add(
        "plan", "documents:plan", "say what a request would do, and queue nothing", "pytorch-trainer plan r.json"
    )
    for command in (run, submit, plan):
        command.add_argument("request", metavar="REQUEST.json", help="the request file, or - for stdin")
    for command in (run, demo):
        _add_progress_options(command)
        command.set_defaults(problem_on_stdout=True)


_DELETED = """\
A job's events, log and own folder go, with the checkpoints in it; what lies under saveDir stays.
A job that has not ended, or that such a job goes on from, is left alone. Not reversible."""


def _add_job_commands(add: Adder) -> None:
    wait = add(
        "wait", "jobs:wait", "wait for a job and print its payload", "pytorch-trainer wait job_01J… --timeout 60"
    )
    wait.add_argument(
        "--timeout", type=_seconds, metavar="S", help="longest wait in seconds; then exit 3 (default: none)"
    )
    watch = add("watch", "jobs:watch", "show a job's progress to its end", "pytorch-trainer watch job_01J…")
    _add_progress_options(watch)
    status = add("status", "showing:status", "show a job, or the service", "pytorch-trainer status job_01J…")
    logs = add("logs", "showing:logs", "print the log of a job's worker", "pytorch-trainer logs job_01J… --tail 50")
    logs.add_argument("--tail", type=_positive, default=200, metavar="N", help="lines from the end (default 200)")
    asked = (
        ("cancel", "ask a job to save a checkpoint and stop, without a result"),
        ("stop", "ask a job to stop; what it has trained is its result"),
        ("pause", "ask a job to save and free its device"),
        ("resume", "let a paused job go on"),
    )
    orders = [add(name, "jobs:ask", summary, f"pytorch-trainer {name} job_01J…") for name, summary in asked]
    for order, (name, _) in zip(orders, asked, strict=True):
        order.set_defaults(action=name)
    retry = add(
        "retry",
        "jobs:retry",
        "train again what failed or was cancelled, as a new job",
        "pytorch-trainer retry job_01J…",
    )
    retry.add_argument("--anew", action="store_true", help="from the beginning, not from what the job has saved")
    delete = add(
        "delete", "cleaning:delete", "delete jobs that have ended", "pytorch-trainer delete job_01J…", _DELETED
    )
    delete.add_argument("job_ids", metavar="ID", nargs="+", help="the jobs' ids")
    clean = add(
        "clean", "cleaning:clean", "delete old jobs", "pytorch-trainer clean --older-than 30d --dry-run", _DELETED
    )
    clean.add_argument("--older-than", type=_duration, metavar="30d", help="jobs that ended longer ago: 12h, 30d, 8w")
    clean.add_argument("--keep", type=_positive, metavar="N", help="all that ended but the newest N")
    clean.add_argument("--dry-run", action="store_true", help="only say which")
    for command in (wait, watch, logs, retry, *orders):
        command.add_argument("job_id", metavar="ID", help="the job's id")
    status.add_argument("job_id", metavar="ID", nargs="?", help="the job's id; without it, the service")
    listing = add("list", "showing:list_jobs", "list jobs, newest first", "pytorch-trainer list --state running")
    listing.add_argument("--state", action="append", default=[], help="only jobs in this state (repeatable)")
    listing.add_argument("--label", metavar="NAME=VALUE", help="only jobs with this label")
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="how many (default 20)")


def _add_progress_options(command: Parser) -> None:
    how_much = command.add_mutually_exclusive_group()
    how_much.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    how_much.add_argument(
        "-v", "--verbose", action="store_true", help="show every line of the job's log (else the first 20 warnings)"
    )


def _add_schema_command(add: Adder) -> None:
    schema = add(
        "schema", "documents:schema", "print a JSON Schema of the contract", "pytorch-trainer schema input > input.json"
    )
    schema.add_argument(
        "name",
        nargs="?",
        default="input",
        choices=("input", "output", "event", "problem", "plan"),
        help="which document (default input)",
    )


def _port(text: str) -> int:
    return _whole_number(text, 0, 65_535)


def _positive(text: str) -> int:
    return _whole_number(text, 1, 1_000_000)


def _whole_number(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
    return int(text)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _duration(text: str) -> float:
    """Seconds in ``30d``, ``12h``, ``8w``."""
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _UNITS or not 0 < int(number) * _UNITS[unit] <= 3_153_600_000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number and a unit, such as 12h, 30d or 8w")
    return float(int(number) * _UNITS[unit])


def _overlap(text: str) -> float:
    """As ``_duration``, or none."""
    return 0.0 if text in ("0", "0s") else _duration(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 31_536_000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return seconds
