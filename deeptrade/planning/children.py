"""Child processes of this interpreter that import nothing from the working folder.

`python -m` puts the working folder before Python's own library: there a user's random.py would be imported in place of
Python's random by every library that needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE_FOLDER = str(Path(__file__).parents[2])
"""Where this package lies. Children look there last, in case it is not installed but used from its own folder."""

_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str) -> list[str]:
    """Return the start of a command line that runs a module as `python -m` does, safe from the working folder."""
    return [sys.executable, "-P", "-c", _START, PACKAGE_FOLDER, module]
