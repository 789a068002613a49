"""``demo``: the whole product on real data, from a checkout: scanned digits, the real service, one payload."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import app
from app.cli.exits import CommandError, Exit
from app.cli.progress import progress_for
from app.cli.running import run_request

EXAMPLE = Path("examples") / "digits"


def demo(arguments: Namespace) -> int:
    """Write the images, train on them, print the payload."""
    example = find_example()
    _prepare(example)
    request = (example / "request.json").read_bytes()
    progress = progress_for(quiet=arguments.quiet, verbose=arguments.verbose)
    return run_request(request, progress, quiet=arguments.quiet, overrides={"PT_WORKSPACE": str(example)})


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
