"""open copies of the notebooks in JupyterLab, yours to edit"""

from __future__ import annotations

import argparse
import os

from .console import print_line


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `deeptrade lab`."""
    parser.add_argument("--out", default="lab", metavar="DIR", help="folder of the copies; kept ones stay [lab]")
    parser.add_argument(
        "jupyter",
        nargs="*",
        metavar="-- OPTIONS",
        help="options of JupyterLab after two hyphens, such as -- --port=8890 --no-browser",
    )


def run(options: argparse.Namespace) -> None:
    """Copy the notebooks that are not there yet, and become JupyterLab."""
    from ..files import user_path
    from ..notebook.copies import copy_notebooks
    from ..planning.children import module_command

    for line in copy_notebooks(options.out):
        print_line(line)
    folder = user_path(options.out).absolute()
    command = [*module_command("jupyterlab"), f"--ServerApp.root_dir={folder}", *options.jupyter]
    os.execv(command[0], command)
