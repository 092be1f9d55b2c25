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


FOLDED = """
[...document.querySelectorAll('details')].filter(element =>
  ![...element.children].some(child => child.tagName !== 'SUMMARY' && child.getBoundingClientRect().height > 0
    && child.checkVisibility({contentVisibilityAuto: true}))
).map(element => element.outerHTML.slice(0, 80))
"""
"""Folded parts of which nothing but their head is shown."""


PALE = """
(() => {
  const numbers = colour => { const found = colour.match(/[0-9.]+/g).map(Number); return found.concat(1).slice(0, 4); };
  const light = colour => colour.slice(0, 3)
    .map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = element => {
    for (let parent = element; parent; parent = parent.parentElement) {
      const colour = numbers(getComputedStyle(parent).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement;
    if (!text.data.trim() || element.closest('title') || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const pair = [numbers(element.closest('svg') ? style.fill : style.color), ground(element)].map(light);
    const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (contrast < 4.5) found.push([Math.round(100 * contrast) / 100, text.data.trim().slice(0, 60)]);
  }
  return found;
})()
"""
"""Texts whose contrast with their ground is below 4.5, as WCAG 2.2 counts it."""


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
