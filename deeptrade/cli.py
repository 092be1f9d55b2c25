"""The command line: `deeptrade COMMAND`; exit codes 0 done, 2 the user can fix it, 1 our bug, 130/143 stopped.

Each command has a file in `commands`: its first line is the help, `add_options` declares its options, `run` does it.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import NoReturn

from . import __version__
from .errors import DeepTradeError, Interrupted, standing_in

try:
    from .commands import (
        build,
        compare,
        compile,
        evaluate,
        export,
        fit,
        lab,
        optimize,
        predict,
        profile,
        report,
        run,
        synth,
        verify,
        walk,
    )
    from .commands.console import OneLineParser, underscored
    from .files import FULL_DISK, told
except Exception as error:
    if not standing_in(error):
        raise
    sys.stderr.write(f"deeptrade: {standing_in(error)}\n")
    raise SystemExit(DeepTradeError.exit_code) from None

COMMANDS = (
    synth,
    build,
    compile,
    verify,
    export,
    profile,
    optimize,
    fit,
    predict,
    walk,
    evaluate,
    run,
    report,
    compare,
    lab,
)
"""In the order of the help."""

_NO_ROOM = (*FULL_DISK, errno.ENOMEM)
_CLOSED_PATHS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser, parsers = _build_parser()
    options, unknown = parser.parse_known_args(underscored(sys.argv[1:] if arguments is None else arguments))
    if unknown:
        _refuse_unknown(parsers[options.command], options.command, unknown[0])
    try:
        with _ending_on_sigterm():
            options.run(options)
    except DeepTradeError as error:
        return _tell(options.command, error)
    except OSError as error:
        if not _is_the_users(error):
            raise
        return _tell(options.command, told(error, f"using {error.filename or 'the system'}"))
    except KeyboardInterrupt as interrupt:
        return getattr(interrupt, "exit_code", 130)
    except SystemExit as ended:  # of a child process, which has said why
        return int(ended.code or 0)
    except Exception as error:  # a module of the user's may fail in any way where another is expected
        line = standing_in(error)
        if not line:
            raise
        return _tell(options.command, DeepTradeError(line))
    return 0


def _build_parser() -> tuple[OneLineParser, dict[str, OneLineParser]]:
    """The parser of the command line, and those of the commands by name."""
    parser = OneLineParser(prog="deeptrade", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"deeptrade {__version__}")
    added = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=OneLineParser)
    parsers: dict[str, OneLineParser] = {}
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        parsers[name] = added.add_parser(name, help=command.__doc__, description=command.__doc__, allow_abbrev=False)
        command.add_options(parsers[name])
        parsers[name].set_defaults(run=command.run)
    return parser, parsers


def _refuse_unknown(parser: argparse.ArgumentParser, command: str, given: str) -> NoReturn:
    known = [option for action in parser._actions for option in action.option_strings]
    near = get_close_matches(given.partition("=")[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"see deeptrade {command} --help"
    parser.exit(2, f"deeptrade {command}: {given!r} is not an option; {hint}\n")


def _tell(command: str, error: DeepTradeError) -> int:
    print(f"deeptrade {command}: {error}", file=sys.stderr)
    return error.exit_code


def _is_the_users(error: OSError) -> bool:
    """Whether an OSError that was not converted earlier is one the user can fix: no room, or a path closed to them.

    Any other, such as a file of our own that is not there, is our bug, and its traceback says where.
    """
    return error.errno in _NO_ROOM or (error.errno in _CLOSED_PATHS and error.filename is not None)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that child processes and temporary files do not stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
