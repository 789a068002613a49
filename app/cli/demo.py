"""``demo``: the whole product on real data, from a checkout: scanned digits, the real service, one payload."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import app
from app.cli.closing import closing_text
from app.cli.embedded import Host
from app.cli.exits import CommandError, Exit, exit_of
from app.cli.output import remark, write_json
from app.cli.progress import progress_for
from app.cli.running import train
from app.settings import DEFAULT_PORT

EXAMPLE = Path("examples") / "digits"


def demo(arguments: Namespace) -> int:
    """Write the images, train on them, print the payload."""
    example = find_example()
    _prepare(example)
    request = (example / "request.json").read_bytes()
    progress = progress_for(arguments.quiet)
    with Host({"PT_WORKSPACE": str(example)}) as host:
        payload = train(host.line(), request, progress)
    write_json(payload)
    if not arguments.quiet:
        docs = f"pytorch-trainer serve, then http://127.0.0.1:{DEFAULT_PORT}/docs"
        remark(closing_text(payload, progress.figures.checkpoint, docs))
    return exit_of(payload)


def find_example() -> Path:
    """The digits example, below the current folder or beside the package."""
    roots = dict.fromkeys((Path.cwd(), Path(app.__file__).resolve().parents[1]))
    for root in roots:
        if (root / EXAMPLE / "request.json").is_file():
            return (root / EXAMPLE).resolve()
    raise CommandError(
        Exit.INVALID_INPUT,
        f"The demo needs a checkout of the repository: there is no {EXAMPLE} below {' or '.join(map(str, roots))}.\n"
        "Clone it and say make demo there, or train a model of your own: pytorch-trainer run request.json",
    )


def _prepare(example: Path) -> None:
    """Write the images; what the script prints goes to stderr, since stdout is the payload's."""
    script = example / "prepare_data.py"
    ended = subprocess.run([sys.executable, str(script)], cwd=example, stdout=sys.stderr, check=False)
    if ended.returncode:
        raise CommandError(Exit.TRAINING_ERROR, f"{script} ended with status {ended.returncode}; see above.")
