"""What a command prints, and how its options are read: shared by all commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, fields
from typing import Any, NoReturn

from ..files import friendly_os_errors
from ..settings import FitSettings


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line; `more` gives the end of its help, made only when help is asked for."""

    more: Callable[[], str] | None = None

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.register("type", int, _reader(int, "a whole number, such as 32"))
        self.register("type", float, _reader(float, "a number, such as 0.001"))

    def format_help(self) -> str:
        """Return the help, with what `more` gives below it."""
        return super().format_help() + (f"\n{self.more()}\n" if self.more else "")

    def error(self, message: str) -> NoReturn:
        """Print the message and where help is, and exit with 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _reader(kind: type, accepted: str) -> Callable[[str], Any]:
    """Return a function that reads an option's text as a number, and says what is accepted where it is none."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {accepted}") from None

    return read


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a cluster."""
    parser.add_argument(
        "--cluster", default="", metavar="ADDRESS", help="work on a Dask cluster: dask://host:port of its scheduler"
    )


def print_line(line: str) -> None:
    """Print one line at once, also into a pipe; where its reader has gone, the work goes on in silence."""
    with friendly_os_errors("writing the output"):
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # Output goes elsewhere from here on, so that the interpreter's last flush is quiet too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave_at_once(line: str, code: int) -> NoReturn:
    """Print a line of error and end this process, whatever its libraries still wait for."""
    sys.stderr.write(f"{line}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def underscored(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with every option spelled as the original did: --chunk-size is --chunk_size.

    What follows two hyphens alone is for another program and stays as it is.
    """
    spelled: list[str] = []
    for at, argument in enumerate(arguments):
        if argument == "--":
            return [*spelled, *arguments[at:]]
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        spelled.append(name + equals + value)
    return spelled


def add_settings(
    parser: argparse.ArgumentParser, *names: str, kind: type = FitSettings, without: Collection[str] = ()
) -> None:
    """Add the options of some fields of a settings class (all where none is named), except those in `without`.

    An option that is not given is absent from the namespace: see `given_settings`.
    """
    for item in fields(kind):
        if (names and item.name not in names) or item.name in without:
            continue
        default = None if item.default is MISSING else item.default
        text = item.metadata["help"].replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(f"--{item.name}", action="store_true", default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(
                f"--{item.name}",
                type=type(default),
                choices=item.metadata.get("choices"),
                default=argparse.SUPPRESS,
                metavar=None if "choices" in item.metadata else type(default).__name__.upper(),
                help=f"{text} [{default}]",
            )


def given_settings(
    options: argparse.Namespace, *, kind: type = FitSettings, without: Collection[str] = ()
) -> dict[str, Any]:
    """Return the settings of a class given on the command line, by name, except those in `without`."""
    names = {item.name for item in fields(kind)} - set(without)
    return {name: value for name, value in vars(options).items() if name in names}
