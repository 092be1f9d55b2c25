"""run notebooks 01 to 04 and write their reports and index.html"""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from ..errors import SettingsError
from ..run_folder import AGENT_NOTEBOOK, NOTEBOOKS
from ..settings import data_name
from .console import OneLineParser, add_cluster, print_line


def add_options(parser: OneLineParser) -> None:
    """Add the options of `deeptrade run`."""
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", metavar="DIR", help="default: runs/NAME of the data file")
    parser.add_argument(
        "-r",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter of the notebooks, such as -r model_size tiny; may be given several times",
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="run every combination of these values, each in a process and a folder of its own, and compare them; "
        "a value that holds commas in brackets: 'features=[A,B],A' (some shells need the quotes)",
    )
    parser.add_argument("--fresh", action="store_true", help="start over, even where a finished or started run exists")
    add_cluster(parser)
    parser.more = _parameters


def _parameters() -> str:
    """The parameters that -r and --grid take, with meaning and default."""
    from ..notebook.execute import notebook_path
    from ..notebook.parameters import OWN, declared

    notebooks = (*NOTEBOOKS, AGENT_NOTEBOOK)
    found = {name: about for notebook in notebooks for name, about in declared(notebook_path(notebook)).items()}
    names = [name for name in found if name not in OWN]
    width = max(map(len, names))
    defaults = {name: found[name]["default"].strip('"') for name in names}
    lines = [
        f"  {name:<{width}}  {found[name]['help'].strip()}" + (f" [{default}]" if default else "")
        for name, default in defaults.items()
    ]
    return "\n".join(["parameters of the notebooks, for -r and --grid, with their defaults:", *lines])


def run(options: argparse.Namespace) -> None:
    """Run the notebooks once, or for every combination of a grid."""
    from ..cluster.dask_cluster import connected
    from ..notebook import grid, run
    from ..planning.jobs import in_child

    if options.cluster and not options.grid:
        raise SettingsError(f"--cluster {options.cluster} runs the points of a grid; give --grid, or leave it out")
    shared = {
        "out": options.out or f"runs/{data_name(options.data)}",
        "parameters": dict(options.parameters),
        "fresh": options.fresh,
        "sink": print_line,
    }
    if not options.grid:
        print_line(f"report: {run.run(options.data, **shared)}")
        return
    values = grid.read_grid(options.grid)
    with connected(options.cluster) if options.cluster else nullcontext() as cluster:
        page = grid.run_grid(
            options.data,
            grid=values,
            **shared,
            start=cluster.start if cluster else in_child,
            at_once=cluster.workers if cluster else 1,
            executor=cluster,
        )
    print_line(f"comparison: {page}")
