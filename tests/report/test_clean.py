import getpass
import socket

import pytest

from deeptrade.report.clean import clean, scrub


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in /data/people/x/market.csv now", "in market.csv now"),
        ("'/data/people/market.csv'", "'market.csv'"),
        ("error:/data/people/market.csv:3", "error:market.csv:3"),
        ("file:///data/people/market.csv", "market.csv"),
        ("/data/2023/*.csv", "*.csv"),
        ("MAE 3/4 and 1/2", "MAE 3/4 and 1/2"),
        ("text/plain arr_<b>/é", "text/plain arr_<b>/é"),
        ("runs/market is relative", "runs/market is relative"),
    ],
)
def test_folders_are_left_out_of_paths(text, expected):
    assert scrub(text) == expected


def test_folders_below_the_home_folder_are_left_out_too():
    assert scrub("done; ~/runs/deep/result.json, ~/x.csv and ~5 rows") == "done; result.json, x.csv and ~5 rows"


def test_the_home_folder_is_left_out_alone_and_in_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/maria")
    assert scrub("/home/maria/runs/a, /home/maria and /home/mariachi") == "a, ~ and mariachi"
    monkeypatch.setenv("HOME", "/root")
    assert scrub("HOME=/root, /root/a") == "HOME=~, a"


def test_names_of_user_and_host_are_left_out_as_whole_words(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "maria")
    monkeypatch.setattr(socket, "gethostname", lambda: "box-7.example")
    assert scrub("maria on box-7 (box-7.example), mariachi") == "... on ... (...), mariachi"
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert scrub("root of the matter") == "root of the matter"


def test_a_user_without_a_name_is_not_an_error(monkeypatch):
    def fail():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    assert scrub("text") == "text"


def test_a_host_named_like_a_tag_does_not_change_the_page(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "main")
    assert clean('<main class="main" title="main">on main</main>') == '<main class="main" title="...">on ...</main>'


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="https://x.y/z">t</a>', "<a>t</a>"),
        ('<a href="//x.y/z">t</a>', "<a>t</a>"),
        ('<a href="javascript:f()">t</a>', "<a>t</a>"),
        ("<a href=&#104;ttps://x.y>t</a>", "<a>t</a>"),
        ('<a href="03_train.html">t</a>', '<a href="03_train.html">t</a>'),
        ('<img src="http://x.y/a.png" alt="a">', '<img alt="a">'),
        (
            '<img alt="see https://x.y > z" src="data:image/png;base64,AA//B">',
            '<img alt="see x.y &gt; z" src="data:image/png;base64,AA//B">',
        ),
        ('<svg xmlns="http://www.w3.org/2000/svg">', "<svg>"),
        ('<p style="background: url(http://x.y)" onclick="f()">t</p>', "<p>t</p>"),
        ('a<script type="x">f("</p>")</script>b<iframe src="x"></iframe>c<!-- d -->', "abc"),
        ('a<link href="x"><style>p {}</style>b', "ab"),
    ],
)
def test_addresses_and_scripts_are_removed(html, expected):
    assert clean(html) == expected


@pytest.mark.parametrize("html", ["<p>3 &lt; 4 &amp; &#39;x&#39;</p>", "<br/>a", "1 < 2", '<td class="a">b</td>'])
def test_what_is_harmless_keeps_its_spelling(html):
    assert clean(html) == html


def test_a_quoted_path_is_scrubbed_as_it_stands_escaped():
    assert clean("<p>&#39;/data/people/a&amp;b.csv&#39;</p>") == "<p>'a&amp;b.csv'</p>"
