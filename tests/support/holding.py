"""Another process that works in a folder, or looks at it, while a test does something."""

import subprocess
import sys
from contextlib import contextmanager

_BEGIN = (
    "import sys, time; from pathlib import Path; from deeptrade.files import is_held, locked_folder\n"
    "folder = Path(sys.argv[1])\n"
)
HOLD = "with locked_folder(folder, taken=sys.exit): print('here', flush=True); time.sleep(float(sys.argv[2]))\n"
COME_AND_GO = "print('here', flush=True)\nwhile True:\n    with locked_folder(folder, taken=sys.exit): pass\n"
LOOK = "print('here', flush=True)\nwhile True: is_held(folder)\n"


@contextmanager
def another_process(folder, *, does=HOLD, seconds=600):
    """Run one that does something with a folder, from when it has begun; it is killed at the end."""
    command = [sys.executable, "-c", _BEGIN + does, str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "here\n"
            yield process
        finally:
            process.kill()
