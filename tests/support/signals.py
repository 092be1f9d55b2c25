"""Signals that come while Python is not running."""

import hashlib
import os
import signal
import subprocess
import sys


def send_meanwhile(count):
    """Send SIGTERM `count` times to this process, from a child that takes its time."""
    kill = f"time.sleep(0.2); os.kill({os.getpid()}, {int(signal.SIGTERM)})"
    subprocess.Popen([sys.executable, "-S", "-c", f"import os, time\nfor _ in range({count}): {kill}"])


def outside_of_python(rounds):
    """Compute in C without Python's lock, as a step of TensorFlow does: no Python handler is called meanwhile."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
