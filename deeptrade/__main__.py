"""`python -m deeptrade` is `deeptrade`."""

import os
import sys

if sys.path[0] in ("", os.getcwd()):  # last, so that a user's random.py does not stand in for Python's own
    sys.path.append(sys.path.pop(0))

from .cli import main

sys.exit(main())
