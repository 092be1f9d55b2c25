"""`fit` in this process, under a hard memory limit: what a trial of `optimize` starts.

    python -m deeptrade.commands.limited_fit BYTES fit OPTIONS

The process is the first that the kernel kills where memory runs out, so that the notebook that asked stays alive. It
exits as `deeptrade fit` does, but with LACKED_MEMORY where the settings were refused, or failed, for lack of memory.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..cluster.multiworker import VARIABLE
from ..errors import DeepTradeError, DiskFullError, DoesNotFitError
from ..planning.memory_model import RESERVED_BYTES
from ..planning.plan import LACKED_MEMORY
from . import fit
from .console import OneLineParser


def main(arguments: Sequence[str]) -> int:
    """Train with the options arguments[2:], holding at most arguments[0] bytes of anonymous memory (0: no limit)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.environ.pop(VARIABLE, None)  # a trial is no worker of what its parent belongs to
    limit_data(int(arguments[0]))
    parser = OneLineParser(prog="deeptrade fit")
    fit.add_options(parser)
    options = parser.parse_args(arguments[2:])
    try:
        fit.run(options)
    except DeepTradeError as error:
        sys.stderr.write(f"{error}\n")
        return LACKED_MEMORY if lacks_memory(error) else error.exit_code
    except Exception as error:  # noqa: BLE001 (told whole; only the exit code depends on its kind)
        traceback.print_exc()
        if not lacks_memory(error):
            return 1
        sys.stderr.write(f"{str(error).partition(chr(10))[0] or type(error).__name__}\n")
        return LACKED_MEMORY
    return 0


def limit_data(room_bytes: int) -> None:
    """Let this process hold `room_bytes` of anonymous memory and what training reserves without holding it."""
    if not room_bytes:
        return
    most = room_bytes + RESERVED_BYTES["RLIMIT_DATA"]
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, says by its type that memory was lacking."""
    tensorflow = sys.modules.get("tensorflow")
    exhausted = (tensorflow.errors.ResourceExhaustedError,) if tensorflow else ()
    return any(
        (isinstance(one, (MemoryError, DoesNotFitError, *exhausted)) and not isinstance(one, DiskFullError))
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
