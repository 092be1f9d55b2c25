"""What tests of pages share: a reader of HTML, and what a page must not do."""

from html.parser import HTMLParser

MOST_BYTES = 2_000_000


CLIPPED = """
[...document.querySelectorAll('table, pre, img, figure, svg')].filter(element => {
  const edge = element.getBoundingClientRect().right;
  for (let parent = element; parent; parent = parent.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(parent).overflowX)) return false;
  return edge > window.innerWidth + 1;
}).map(element => element.outerHTML.slice(0, 80))
"""


SMALL_LETTERS = """
(least => [...document.querySelectorAll('figure text, figure li, figure summary, figcaption')].map(element => {
  const matrix = element.getScreenCTM ? element.getScreenCTM() : null;
  const scale = matrix ? Math.hypot(matrix.a, matrix.b) : 1;
  return [element.getClientRects().length ? scale * parseFloat(getComputedStyle(element).fontSize) : 99,
          element.textContent];
}).filter(([size]) => size < least))(%g)
"""
"""Texts in figures that are shown with letters smaller than so many pixels."""


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.content = [], [], path.read_text(encoding="utf-8")
        self.style = ""
        self.feed(self.content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.cdata_elem == "style":
            self.style = data
        else:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    @property
    def drawings(self):
        """The drawings of figures, a wide and a narrow one of each."""
        return [drawing for drawing in self.all("svg") if drawing.get("role") == "img"]

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]
