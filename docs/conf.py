"""The site of these pages: `make docs`. Its links are checked as it is made; it opens from disk."""

from pathlib import Path
from typing import Any

from deeptrade.training.runtime import quiet_start

with quiet_start():  # autodoc imports the package; TensorFlow's own lines look like warnings
    import tensorflow  # noqa: F401

project = "DeepTrade"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "DeepTrade"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
smartquotes = False
default_role = "code"  # in docstrings, `this` is code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
myst_heading_anchors = 3
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages, which no link needs
BENCHMARKS = "../benchmarks/"


def take_in_the_benchmarks(app: Any, page: str, source: list[str]) -> None:
    """Make the page of the benchmarks of their README, and let links to that lead to the page."""
    if page == "benchmarks":
        text = (Path(app.srcdir) / BENCHMARKS / "README.md").read_text(encoding="utf-8")
        source[0] = text.replace("](", f"]({BENCHMARKS}").replace(f"]({BENCHMARKS}#", "](#")
    source[0] = source[0].replace(f"]({BENCHMARKS}README.md", "](benchmarks.md")


def take_stars_as_they_are(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Escape stars in docstrings, which are no emphasis: they stand in shapes such as (rows, *shape)."""
    lines[:] = [line if ">>>" in line else line.replace("*", r"\*") for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", take_stars_as_they_are)
    app.connect("source-read", take_in_the_benchmarks)
