"""``python -m exactrnn``: the command line."""

import sys

from exactrnn.cli import main

sys.exit(main())
