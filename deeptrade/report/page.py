"""Write executed notebooks and other content as self-contained HTML: no network, no scripts, nothing private."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from .. import __version__
from ..files import atomic_write
from .clean import clean, scrub
from .figures.style import page_style
from .navigation import with_contents
from .tables import settings_table

_PARAMETERS = ("parameters", "injected-parameters")
_PAPERMILL_MARKS = ("papermill-error-cell-tag",)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'<div data-drawing="(\d+)"></div>')
_LONGEST_ERROR, _MOST_LINES = 500, 2


def render_notebook(notebook: Path, html: Path, *, code: bool) -> None:
    """Write an executed notebook as a page: with `code` in full, else without code, prompts and warnings.

    The page starts with the first error of a cell, if any, then the verdict: the first bold sentence that an output
    begins with. The tags remove_cell, remove_input and remove_output have their usual effect. Without `code`, the
    parameters are a table at the end.
    """
    content = nbformat.read(notebook, as_version=4)
    content.cells = [cell for cell in content.cells if not _tagged(cell, *_PAPERMILL_MARKS)]
    problem, title = _find_error(content), _take_title(content)
    settings = _read_parameters(content)
    verdict = _take_verdict(content)
    _join_streams(content)
    if not code:
        _strip_for_readers(content)
    _escape_outputs(content)
    write_page(
        html,
        title=title or notebook.stem,
        verdict=verdict,
        body=Markup(_body(content, code=code)),
        problem=problem,
        settings=None if code or not settings else to_html(settings_table(settings)),
    )


def write_page(
    path: Path,
    *,
    title: str,
    body: Markup,
    verdict: str = "",
    problem: str = "",
    settings: Markup | None = None,
    pages: Markup = Markup(""),  # noqa: B008
) -> None:
    """Write one page around a body of HTML, without external addresses, scripts and private names.

    `pages` are links to other pages; those of a run are written by `link_pages`, when it is known which exist. Links to
    all headings stand before the first.
    """
    text = (
        environment()
        .get_template("page.html.j2")
        .render(
            title=scrub(title),
            style=Markup(_style(body)),
            body=Markup(with_contents(_scrollable(clean(body)))),
            pages=Markup(clean(pages)),
            verdict=scrub(verdict),
            problem=scrub(problem),
            settings=None if settings is None else Markup(_scrollable(clean(settings))),
            footer=f"DeepTrade {__version__}. This page needs no network and runs no script.",
        )
    )
    with atomic_write(path) as file:
        file.write(text.encode())


def _scrollable(html: str) -> str:
    """Wrap every table in a box that scrolls sideways, also by keyboard."""
    box = r'<div class="scroll" tabindex="0" role="group" aria-label="table">\g<0></div>'
    return re.sub(r"<table\b.*?</table>", box, html, flags=re.DOTALL)


def environment() -> Environment:
    """Return the environment of the templates, which escapes all text."""
    return Environment(loader=PackageLoader("deeptrade.report"), autoescape=True)


def to_html(table: pd.DataFrame) -> Markup:
    """Return a table as HTML with its text escaped."""
    return Markup(table.to_html(index=False, border=0, escape=True, justify="left"))


def _style(body: str) -> str:
    """Return the style sheet, with light and dark colours for the kinds of code in the body."""
    style = environment().loader.get_source(environment(), "style.css")[0]  # type: ignore[union-attr]
    style += page_style() if 'class="chart"' in body else ""
    kinds = sorted(set(re.findall(r'<span class="(\w{1,3})">', body)))
    if not kinds:
        return style
    light, dark = (_code_colours(name, kinds) for name in ("default", "github-dark"))
    return f"{style}{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _code_colours(name: str, kinds: list[str]) -> str:
    from pygments.formatters import HtmlFormatter

    rules = HtmlFormatter(style=name).get_style_defs(".highlight").splitlines()
    return "\n".join(rule for rule in rules if rule.startswith(tuple(f".highlight .{kind} " for kind in kinds)))


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
    drawn = _take_drawings(content)
    body, _ = exporter.from_notebook_node(content)
    return _PLACE.sub(lambda place: drawn[int(place[1])], body)


def _take_drawings(content: Any) -> list[str]:
    """Put marks in place of drawings and return them: nbconvert would parse each of their thousands of tags."""
    drawn: list[str] = []
    for output in _outputs(content):
        html = output.get("data", {}).get("text/html", "")
        if "<svg" in html:
            output.data["text/html"] = f'<div data-drawing="{len(drawn)}"></div>'
            drawn.append(html)
    return drawn


def _strip_for_readers(content: Any) -> None:
    """Remove parameter cells, tracebacks and stderr."""
    content.cells = [cell for cell in content.cells if not _tagged(cell, *_PARAMETERS)]
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                _folded(output) if output.output_type == "stream" else output
                for output in cell.outputs
                if output.output_type != "error" and output.get("name") != "stderr"
            ]


def _folded(output: Any) -> Any:
    """Return what a cell printed as a text that opens on request, if it is more than a few lines."""
    lines = output.text.rstrip().splitlines()
    if len(lines) <= _MOST_LINES:
        return output
    shown = Markup("<details><summary>{} lines of messages</summary><pre>{}</pre></details>").format(
        len(lines), _ANSI.sub("", output.text)
    )
    return nbformat.v4.new_output("display_data", {"text/html": str(shown)})


def _escape_outputs(content: Any) -> None:
    """Escape HTML in Markdown outputs: their text may come from data, such as the name of a file or column."""
    for output in _outputs(content):
        text = output.get("data", {}).get("text/markdown")
        if text is not None:
            output.data["text/markdown"] = text.replace("&", "&amp;").replace("<", "&lt;")


def _join_streams(content: Any) -> None:
    """Join what a cell printed into one text: progress-bar updates in between split it."""
    for cell in content.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
                joined[-1].text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined


def _tagged(cell: Any, *tags: str) -> bool:
    return any(tag in cell.metadata.get("tags", []) for tag in tags)


def _outputs(content: Any) -> Iterator[Any]:
    for cell in content.cells:
        yield from cell.get("outputs", [])


def _read_parameters(content: Any) -> dict[str, Any]:
    """Return the effective parameters: declared ones, overridden by injected ones."""
    values: dict[str, Any] = {}
    for tag in _PARAMETERS:
        for cell in content.cells:
            if _tagged(cell, tag):
                values |= _read_assignments(cell.source)
    return values


def _read_assignments(source: str) -> dict[str, Any]:
    """Return names and values of plain assignments; a value that is not a constant stays as source text."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # then the cell itself has failed, and the page reports it
        return {}
    values = {}
    for statement in statements:
        target = getattr(statement, "target", None) or getattr(statement, "targets", [None])[0]
        value = getattr(statement, "value", None)
        if isinstance(target, ast.Name) and value is not None:
            values[target.id] = value.value if isinstance(value, ast.Constant) else ast.unparse(value)
    return values


def _find_error(content: Any) -> str:
    """Return the first error as one line; '' where there is none."""
    for output in _outputs(content):
        if output.output_type == "error":
            line = " ".join(_ANSI.sub("", f"{output.ename}: {output.evalue}").split())
            return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]} ..."
    if "papermill" in content.metadata and any(_was_not_run(cell) for cell in content.cells):
        return "the notebook's process ended before its last cell; the system may have killed it for lack of memory"
    return ""


def _was_not_run(cell: Any) -> bool:
    """Return whether a cell has no execution count: a kernel that dies leaves no error and no reliable status."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and cell.execution_count is None


def _take_title(content: Any) -> str:
    """Remove the first heading from its cell and return it."""
    for cell in content.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            title, _, cell.source = cell.source.partition("\n")
            return title.removeprefix("# ").strip()
    return ""


def _take_verdict(content: Any) -> str:
    """Return the bold sentence that an output begins with; one that has nothing else, and no heading, is removed."""
    heading = False
    for cell in content.cells:
        heading = cell.source.startswith("#") if cell.cell_type == "markdown" else heading
        for output in cell.get("outputs", []):
            found = re.match(r"\*\*([^\n]+?)\*\*(?= |$)", output.get("data", {}).get("text/markdown", "").strip())
            if found:
                if not heading and found[0] == found.string:
                    cell.outputs.remove(output)
                return found[1]
    return ""
