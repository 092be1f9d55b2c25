"""Executed notebooks, and anything else, as one self-contained HTML file: no network, no script, nothing private."""

from __future__ import annotations

import ast
import getpass
import re
import socket
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from .. import __version__
from ..files import atomic_write
from .tables import settings_table

_PARAMETERS = ("parameters", "injected-parameters")


def render_notebook(notebook: Path, html: Path, *, code: bool) -> None:
    """Write an executed notebook as a page: for readers without code, prompts and warnings, or in full with them.

    Cells tagged remove_cell, remove_input or remove_output are treated so. The parameters are shown as a table.
    An error in a cell is told at the top.
    """
    content = nbformat.read(notebook, as_version=4)
    problem = _find_error(content)
    settings = _read_parameters(content)
    if not code:
        _strip_for_readers(content)
    body = _body(content, code=code)
    title = _title(content, notebook.stem)
    table = None if code else to_html(settings_table(settings))
    write_page(html, title=title, body=Markup(body), problem=problem, settings=table, code=code)


def write_page(
    path: Path, *, title: str, body: Markup, problem: str = "", settings: Markup | None = None, code: bool = False
) -> None:
    """Write one page around a body of HTML, scrubbed of paths and names that are nobody's business."""
    text = (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            style=Markup(_style(code)),
            body=body,
            problem=problem,
            settings=settings,
            footer=f"DeepTrade {__version__}. This page needs no network and runs no script.",
        )
    )
    with atomic_write(path) as file:
        file.write(scrub(text).encode())


def environment() -> Environment:
    """Return the templates' environment: everything from data is escaped."""
    return Environment(loader=PackageLoader("deeptrade.report"), autoescape=True)


def to_html(table: pd.DataFrame) -> Markup:
    """Return a table as HTML, its text escaped."""
    return Markup(table.to_html(index=False, border=0, escape=True, justify="left"))


def scrub(text: str) -> str:
    """Return the text without home paths, and without the user's and the host's name as whole words ('root' stays).

    Folders of absolute paths are left out, their last part stays: /data/x/market.csv becomes market.csv.
    """
    head, mark, images = "", "", text
    parts = re.split(r'(src="data:[^"]*")', images)
    for number in range(0, len(parts), 2):
        parts[number] = _scrub_text(parts[number])
    return head + mark + "".join(parts)


def _scrub_text(text: str) -> str:
    text = re.sub(
        r"(?<![\w.<:/&#;-])(?:/[\w.@+~-]+){2,}/?", lambda match: match[0].rstrip("/").rpartition("/")[2], text
    )
    names = {getpass.getuser(), Path.home().name, socket.gethostname()} - {"root", "", "localhost"}
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", text)
    return text


def _style(code: bool) -> str:
    style = environment().loader.get_source(environment(), "style.css")[0]  # type: ignore[union-attr]
    if not code:
        return style
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
    return f"{style}\n{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"


def _body(content: Any, *, code: bool) -> str:
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = ("remove_cell",)
    config.TagRemovePreprocessor.remove_input_tags = ("remove_input",)
    config.TagRemovePreprocessor.remove_all_outputs_tags = ("remove_output",)
    exporter = HTMLExporter(config=config, template_name="basic", exclude_input=not code)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    exporter.register_preprocessor("nbconvert.preprocessors.TagRemovePreprocessor", enabled=True)
    body, _ = exporter.from_notebook_node(content)
    body = re.sub(r"<style.*?</style>|<script.*?</script>", "", body, flags=re.DOTALL)
    return re.sub(r'<table[^>]*class="dataframe".*?</table>', r'<div class="scroll">\g<0></div>', body, flags=re.DOTALL)


def _strip_for_readers(content: Any) -> None:
    """Leave out parameter cells, error traces, and what went to stderr."""
    content.cells = [cell for cell in content.cells if not _tagged(cell, *_PARAMETERS)]
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if output.output_type != "error" and output.get("name") != "stderr"
            ]


def _tagged(cell: Any, *tags: str) -> bool:
    return any(tag in cell.metadata.get("tags", []) for tag in tags)


def _read_parameters(content: Any) -> dict[str, Any]:
    """The parameters in force: the declared ones, overridden by the injected ones."""
    values: dict[str, Any] = {}
    for tag in _PARAMETERS:
        for cell in content.cells:
            if _tagged(cell, tag):
                for statement in ast.parse(cell.source).body:
                    target = getattr(statement, "target", None) or getattr(statement, "targets", [None])[0]
                    if isinstance(target, ast.Name) and getattr(statement, "value", None) is not None:
                        values[target.id] = ast.literal_eval(statement.value)
    return values


def _find_error(content: Any) -> str:
    for cell in content.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""


def _title(content: Any, default: str) -> str:
    for cell in content.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.splitlines()[0].removeprefix("# ")
    return default
