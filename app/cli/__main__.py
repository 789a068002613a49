"""``python -m app.cli``: the command line where its script is not on the path."""

import sys

from app.cli import main

sys.exit(main())
