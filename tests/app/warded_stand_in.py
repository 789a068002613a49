"""The stand-in under a real warden: what the service starts, but for the worker's own code."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer_core.warden import main


def work(_folder: Path) -> int:
    """Do what the job's model file says."""
    runpy.run_path(str(Path(__file__).with_name("stand_in.py")))
    return 0


main(Path(sys.argv[1]), work)
