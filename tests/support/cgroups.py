"""Memory cgroups for tests that starve real processes."""

import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextmanager
def memory_group(limit_bytes):
    """A cgroup with a memory limit; yields (folder, file name of the highest use)."""
    v2 = (V2 / "cgroup.controllers").exists()
    folder = (V2 if v2 else V1) / f"deeptrade-test-{uuid.uuid4().hex[:8]}"
    try:
        if v2:
            (V2 / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
        (folder / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


def command_in(folder, code, *arguments):
    """The command that runs Python code in a cgroup, which it joins before it imports anything large."""
    joining = f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    return [sys.executable, "-c", joining + code, *map(str, arguments)]


def run_in(folder, code, *arguments):
    """Run Python code in a cgroup."""
    return subprocess.run(command_in(folder, code, *arguments), capture_output=True, text=True)
