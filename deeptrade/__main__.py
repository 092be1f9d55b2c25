"""`python -m deeptrade` is `deeptrade`."""

import sys

from .cli import main

sys.exit(main())
