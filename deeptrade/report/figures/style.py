"""The CSS of figures: in pages, which follow the reader's system, and in notebooks, which have a theme of their own."""

from __future__ import annotations

from .palette import rules, variables

_LAYOUT = """
.chart{container-type:inline-size;margin:1rem 0 1.6rem;max-width:60rem}
.chart figcaption{font-weight:600;color:var(--c0);margin-bottom:.3rem;max-width:46rem}
.chart figcaption{text-wrap:balance;overflow-wrap:anywhere}
.chart>svg{width:100%;height:auto;display:block;font-family:inherit;overflow:visible}
.chart path,.chart circle{fill:none}
.chart .narrow{display:none;max-width:480px}
@container (max-width:700px){.chart>.wide{display:none}.chart>.narrow{display:block}}
.chart .keys{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:0 0 .3rem;padding:0}
.chart .keys{font-size:.85rem;color:var(--c1)}
.chart .keys li{margin:0}
.chart .key{width:22px;height:12px;margin-right:.4rem;vertical-align:-1px}
.chart .mark{fill:transparent;stroke:none}
.chart .mark:hover{stroke:var(--c0);stroke-width:1.5}
.chart details{font-size:.85rem;color:var(--c1)}
.chart summary{cursor:pointer;width:fit-content}
.chart details ul{columns:18rem;margin:.3rem 0;padding-left:1.1rem}
@media print{.chart{break-inside:avoid}.chart details{display:none}}
"""


def page_style() -> str:
    """Return the CSS of figures in a page: colours follow the reader's system, and are light on paper."""
    light, dark = variables()
    media = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}{media}{{:root{{{dark}}}}}{rules()}{_LAYOUT}"


def notebook_style() -> str:
    """Return the CSS of a figure in a notebook: colours follow the theme of JupyterLab or of an editor."""
    light, dark = variables()
    themes = '[data-jp-theme-light="false"] .chart,.vscode-dark .chart'
    return f".chart{{{light}}}{themes}{{{dark}}}{rules()}{_LAYOUT}"
