"""The CSS of figures: in pages, which follow the reader's system, and in notebooks, which have a theme of their own."""

from __future__ import annotations

import re

from .palette import INK, LIMIT, SOFT, class_of, rules, variables

_LAYOUT = """
.chart{container-type:inline-size;margin:1rem 0 1.6rem;max-width:60rem}
.chart figcaption{font-weight:600;color:INK;margin-bottom:.3rem;max-width:46rem}
.chart figcaption{text-wrap:balance;overflow-wrap:anywhere}
.chart>svg{width:100%;height:auto;display:block;font-family:inherit;overflow:visible}
.chart path,.chart circle{fill:none}
.chart .narrow{display:none;max-width:480px}
@container (max-width:700px){.chart>.wide{display:none}.chart>.narrow{display:block}}
.chart .keys{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:0 0 .3rem;padding:0}
.chart .keys{font-size:.85rem;color:SOFT}
.chart .keys li{margin:0}
.chart .key{width:22px;height:12px;margin-right:.4rem;vertical-align:-1px}
.chart .mark{fill:transparent;stroke:none}
.chart .mark:hover{stroke:INK;stroke-width:1.5}
.chart details{font-size:.85rem;color:SOFT}
.chart summary{cursor:pointer;width:fit-content}
.chart details ul{columns:18rem;margin:.3rem 0;padding-left:1.1rem}
.chart .badge{font-weight:600;font-size:.8rem;padding:.05rem .55rem;border-radius:1rem;border:1px solid currentColor}
.chart .badge.warning{color:LIMIT}
.chart .badge.note{color:SOFT}
.chart .alerts{list-style:none;padding:0;margin:.6rem 0}
.chart .alerts li{display:flex;gap:.8rem;align-items:baseline;margin:.55rem 0;max-width:none}
.chart .alerts .badge{flex:none;width:5rem;text-align:center}
.chart .beside{display:block;font-size:.85rem;color:SOFT}
.chart.block th,.chart.block td{padding:.2rem .5rem;min-width:0}
.chart.block{margin:.3rem 0 1rem}
.chart.block details{font-size:.95rem;color:INK;margin:.35rem 0}
.chart .spark{display:block;width:120px;height:28px;min-width:90px}
.chart.block th{font-weight:400;text-align:left}
@media print{.chart>svg{break-inside:avoid}.chart figcaption,.chart .keys{break-inside:avoid;break-after:avoid}}
@media print{.chart:not(.block) details{font-size:7pt;line-height:1.35}}
@media print{.chart.block th,.chart.block td{padding:.1rem .25rem}.chart .spark{width:90px;height:21px}}
@media print{.chart:not(.block) details ul{columns:13rem;column-gap:1.5rem}}
"""


def _layout() -> str:
    """Return the rules with the colours that they name."""
    colours = {"INK": INK, "SOFT": SOFT, "LIMIT": LIMIT}
    return re.sub("|".join(colours), lambda name: f"var(--{class_of(colours[name[0]])})", _LAYOUT)


def page_style() -> str:
    """Return the CSS of figures in a page: colours follow the reader's system, and are light on paper."""
    light, dark = variables()
    media = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}{media}{{:root{{{dark}}}}}{rules()}{_layout()}"


def notebook_style() -> str:
    """Return the CSS of a figure in a notebook: colours follow the theme of JupyterLab or of an editor."""
    light, dark = variables()
    themes = '[data-jp-theme-light="false"] .chart,.vscode-dark .chart'
    return f".chart{{{light}}}{themes}{{{dark}}}{rules()}{_layout()}"
