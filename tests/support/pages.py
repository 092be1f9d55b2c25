"""What tests of pages share: a reader of HTML, and what a page must not do."""

from html.parser import HTMLParser

MOST_BYTES = 2_000_000


CLIPPED = """
[...document.querySelectorAll('table, pre, img')].filter(element => {
  const edge = element.getBoundingClientRect().right;
  for (let parent = element; parent; parent = parent.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(parent).overflowX)) return false;
  return edge > window.innerWidth + 1;
}).map(element => element.outerHTML.slice(0, 80))
"""


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

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]
