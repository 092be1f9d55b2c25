"""The command line: `deeptrade COMMAND`; exit codes 0 done, 2 the user can mend it, 1 our bug, 130/143 stopped."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, NoReturn

from . import __version__
from .errors import DataError, DeepTradeError, Interrupted
from .files import FULL_DISK, friendly_os_errors, told
from .settings import MODEL_SIZES, FitSettings, data_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = read_command(sys.argv[1:] if arguments is None else arguments)
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
    return 0


def read_command(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line, `run` among them; one that is not accepted ends the process with 2."""
    parser = _build_parser()
    options, unknown = parser.parse_known_args(_underscored(arguments))
    if unknown:
        _refuse_unknown(parser, options.command, unknown[0])
    return options


def _tell(command: str, error: DeepTradeError) -> int:
    print(f"deeptrade {command}: {error}", file=sys.stderr)
    return 2


_NO_ROOM = (*FULL_DISK, errno.ENOMEM)
_CLOSED_PATHS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def _is_the_users(error: OSError) -> bool:
    """Whether an error that no place has told is one that the user can mend: no room, or a path closed to them.

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


def print_line(line: str) -> None:
    """Print one line at once, also into a pipe; where its reader has gone, the work goes on in silence."""
    with friendly_os_errors("writing the output"):
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # Output goes elsewhere from here on, so that the interpreter's last flush is quiet too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Spell every option as the original did: --chunk-size is --chunk_size."""
    spelled = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        spelled.append(name + equals + value)
    return spelled


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _refuse_unknown(parser: argparse.ArgumentParser, command: str, given: str) -> NoReturn:
    known = [option for action in _command_parser(parser, command)._actions for option in action.option_strings]
    near = get_close_matches(given.partition("=")[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"see deeptrade {command} --help"
    parser.exit(2, f"deeptrade {command}: {given!r} is not an option; {hint}\n")


def _command_parser(parser: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices[command]
    return parser


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="deeptrade", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"deeptrade {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    synth = command("synth", _synth)
    synth.add_argument("out", metavar="OUT.csv")
    synth.add_argument("--rows", type=int, required=True, metavar="N", help="rows to make, about 0.1 MB each")
    synth.add_argument("--seed", type=int, default=0, help="same seed, same bytes [0]")
    synth.add_argument("--signal", type=float, default=1.0, help="strength of what can be learned; 0 is none [1]")

    build = command("build", _build)
    build.add_argument("klines", nargs="+", metavar="KLINES", help="exchange klines, .csv or .csv.gz")
    build.add_argument("--out", required=True, metavar="OUT.csv")
    build.add_argument("--timeframes", default="5min,15min,1h", help="bar lengths, separated by commas [%(default)s]")
    build.add_argument("--window", type=int, default=241, help="bars per window [%(default)s]")
    build.add_argument("--step", default="20min", help="time between rows and between horizons [%(default)s]")
    build.add_argument("--horizons", type=int, default=10, help="targets, in steps ahead [%(default)s]")

    compiled = command("compile", _compile)
    compiled.add_argument("data", metavar="DATA")
    compiled.add_argument(
        "--workers", type=int, default=0, metavar="N", help="blocks read at once; 0: all processors [0]"
    )
    compiled.add_argument(
        "--full_check", action="store_true", help="compare every byte with what the store was made of"
    )
    compiled.add_argument("--fresh", action="store_true", help="start over")
    for name in ("store", "memory_limit", "chunk_size", "max_bad_rows"):
        _add_setting(compiled, name)

    verify = command("verify", _verify)
    verify.add_argument("store", metavar="STORE")

    export = command("export", _export)
    export.add_argument("store", metavar="STORE")
    export.add_argument("out", metavar="OUT.parquet")

    profile = command("profile", _profile)
    profile.add_argument("data", metavar="DATA")
    profile.add_argument("--out", required=True, metavar="DIR")
    for name in ("store", "max_rows", "chunk_size"):
        _add_setting(profile, name)

    optimize = command("optimize", _optimize)
    optimize.add_argument("data", metavar="DATA")
    optimize.add_argument("--out", required=True, metavar="DIR")
    optimize.add_argument("--effective_batch", type=int, default=32, help="rows per optimizer step [%(default)s]")
    optimize.add_argument("--quick", action="store_true", help="rules and memory model alone, no trial run")
    optimize.add_argument("--model_size", default="small", choices=MODEL_SIZES)
    for name in ("store", "memory_limit"):
        _add_setting(optimize, name)

    fit = command("fit", _fit)
    for item in fields(FitSettings):
        _add_setting(fit, item.name)

    run = command("run", _run)
    run.add_argument("data", metavar="DATA")
    run.add_argument("--out", metavar="DIR", help="empty means runs/NAME of the data file")
    run.add_argument("-r", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="run every combination of such values, each in a process and a folder of its own, and compare them; "
        "a value that holds commas in brackets: 'features=[A,B],A' (some shells need the quotes)",
    )
    run.add_argument("--fresh", action="store_true", help="start over, even where a finished or started run exists")

    report = command("report", _report)
    report.add_argument("folder", metavar="DIR")

    compare = command("compare", _compare)
    compare.add_argument("folders", nargs="+", metavar="DIR", help="runs, or folders that hold runs")
    compare.add_argument("--out", metavar="DIR", help="empty means the first folder")
    return parser


def _add_setting(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the option of one FitSettings field; an option not given is absent from the namespace."""
    item = next(item for item in fields(FitSettings) if item.name == name)
    default = None if item.default is MISSING else item.default
    text = item.metadata["help"].replace("%", "%%")
    if isinstance(default, bool):
        parser.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)
    else:
        parser.add_argument(
            f"--{name}",
            type=type(default),
            choices=item.metadata.get("choices"),
            default=argparse.SUPPRESS,
            metavar=None if "choices" in item.metadata else type(default).__name__.upper(),
            help=f"{text} [{default}]",
        )


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line."""
    names = {item.name for item in fields(FitSettings)}
    return {name: value for name, value in vars(options).items() if name in names}


def _synth(options: argparse.Namespace) -> None:
    """make a seeded synthetic market in the DeepTrade CSV layout"""
    from .making.synthetic import synthesize

    synthesize(options.out, rows=options.rows, seed=options.seed, signal=options.signal, sink=print_line)


def _build(options: argparse.Namespace) -> None:
    """turn exchange klines into DeepTrade rows"""
    from .making.klines import build

    build(
        options.klines,
        out=options.out,
        timeframes=tuple(options.timeframes.split(",")),
        window=options.window,
        step=options.step,
        horizons=options.horizons,
        sink=print_line,
    )


def _compile(options: argparse.Namespace) -> None:
    """parse any data once, to a store that is mapped; continues after a kill"""
    from .progress import ByteProgress
    from .store import compile_store

    given = {name: value for name, value in _given(options).items() if name != "fresh"}
    settings = FitSettings(**given)
    progress = ByteProgress("compiling", sink=print_line)
    try:
        path = compile_store(
            options.data,
            store=settings.store,
            workers=options.workers,
            memory_limit=settings.memory_limit,
            chunk_size=settings.chunk_size,
            max_bad_rows=settings.max_bad_rows,
            full_check=options.full_check,
            fresh=options.fresh,
            sink=print_line,
            progress=progress,
        )
    finally:
        progress.close()
    print_line(f"store: {path}")


def _verify(options: argparse.Namespace) -> None:
    """check every checksum of a store"""
    from .store import verify_store

    damage = verify_store(options.store)
    if damage:
        more = f" and {len(damage) - 10} more" if len(damage) > 10 else ""
        raise DataError(f"{options.store} is damaged: {'; '.join(damage[:10])}{more}; compile it again with --fresh")
    print_line(f"{options.store}: every block of every file has its checksum")


def _export(options: argparse.Namespace) -> None:
    """write the rows of a store to a Parquet file"""
    from .store.export import export_parquet

    export_parquet(options.store, options.out, sink=print_line)


def _profile(options: argparse.Namespace) -> None:
    """say what a data file holds, in DIR/profile.json"""
    from .profiles.profile import profile

    given = {name: value for name, value in _given(options).items() if name != "out"}
    result = profile(options.data, out=options.out, sink=print_line, **given)
    rows = result["rows"]
    print_line(
        f"{result['name']}: {rows['read']} rows, {rows['rejected']} rejected, {len(result['features'])} features, "
        f"{len(result['targets'])} horizons, {result['span']['start']} to {result['span']['end']}; "
        f"written to {options.out}/profile.json"
    )


def _optimize(options: argparse.Namespace) -> None:
    """choose settings that fit the machine, in DIR/plan.json"""
    from .planning.optimize import optimize

    optimize(
        options.data,
        out=options.out,
        store=_given(options).get("store", ""),
        memory_limit=_given(options).get("memory_limit", ""),
        effective_batch=options.effective_batch,
        model_size=options.model_size,
        quick=options.quick,
        sink=print_line,
    )


def _fit(options: argparse.Namespace) -> None:
    """train the forecaster; run again, it continues"""
    from .training.fit import fit

    given = _given(options)
    fit(FitSettings(**given), given=frozenset(given), sink=print_line)


def _run(options: argparse.Namespace) -> None:
    """run notebooks 01 to 04 and write their reports and index.html"""
    from .notebook.grid import read_grid, run_grid
    from .notebook.run import run

    out = options.out or f"runs/{data_name(options.data)}"
    if options.grid:
        page = run_grid(
            options.data,
            out=out,
            grid=read_grid(options.grid),
            parameters=dict(options.parameters),
            fresh=options.fresh,
            sink=print_line,
        )
        print_line(f"comparison: {page}")
        return
    index = run(options.data, out=out, parameters=dict(options.parameters), fresh=options.fresh, sink=print_line)
    print_line(f"report: {index}")


def _report(options: argparse.Namespace) -> None:
    """write the pages of any run from its files, killed ones too"""
    from .report.index import report_pages

    report_pages(options.folder, sink=print_line)


def _compare(options: argparse.Namespace) -> None:
    """set runs side by side, in DIR/compare.html"""
    from .report.compare_page import write_comparison

    path = write_comparison(options.folders, out=options.out or options.folders[0])
    print_line(f"comparison: {path}")
