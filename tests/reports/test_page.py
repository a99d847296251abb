"""A page holds what it is given, escaped, and can do nothing but what its own script and sheet do."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up_pages import MADE_UP
from matplotlib.colors import is_color_like

from genomai_cli.names import caption, printable
from genomai_cli.reports.drawings import SVG, inlined
from genomai_cli.reports.page import Page, as_json, digest, rendered
from genomai_cli.reports.pictures import picture, samples_picture
from genomai_cli.reports.sections import (
    COLOURS,
    Column,
    Facts,
    FractionBars,
    Notes,
    Picture,
    SampleMap,
    ShadedCell,
    Table,
    Tables,
    colours_of,
)

HOSTILE = "</script><script>alert(1)</script>\"'&<b>\x1b[31m\u2028\udcfc{{7*7}}"


def page_of(*sections):
    return rendered(Page("A title", "a line", sections)).decode()


def element(name, text):
    """The text between the first tags of that name."""
    return re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)[1]


def test_the_policy_names_the_only_script_and_the_only_sheet():
    text = page_of(Notes("Limits", ["one"]))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert f"script-src {digest(element('script', text))};" in policy
    assert f"style-src {digest(element('style', text))};" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(r"(src|href|style|on\w+)=", text.split("<body>")[1])


def test_a_drawing_takes_the_colours_of_the_page_and_has_no_styles():
    def draw(figure):
        axes = figure.subplots()
        axes.scatter([1, 2], [3, 4], c="#2f5d8a").set_gid("points")
        axes.set_title(caption(HOSTILE))

    svg = inlined(picture(draw, (3, 3), ".svg"), {"points": ["first", HOSTILE]})
    assert "style" not in svg
    assert "#2f5d8a" not in svg
    assert 'fill="var(--plot-dark)"' in svg
    assert "<script" not in svg
    titles = [mark.text for mark in ElementTree.fromstring(svg).iter(f"{{{SVG}}}title")]
    assert titles == ["first", printable(HOSTILE)]
    assert svg in page_of(Picture("Losses", svg))


@pytest.mark.parametrize("name", MADE_UP)
def test_the_page_of_a_command(name):
    """Small enough to send, the same bytes again, with the policy of all pages, and nothing of a name is markup."""
    page = rendered(MADE_UP[name]())
    assert page == rendered(MADE_UP[name]())
    assert len(page) < 5_000_000
    text = page.decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy
    assert text.count("<script") == 1
    body = text.split("<body>")[1]
    assert "<img" not in body
    assert "onerror=alert" in body
    assert "style=" not in body
    assert "nan" not in re.findall(r"<td[^>]*>([^<]*)</td>", body)


def test_hostile_text_stays_text():
    samples = SampleMap(
        HOSTILE, HOSTILE, [HOSTILE], np.zeros((1, 1)), [HOSTILE], np.array([0]), np.array([True])
    )
    text = page_of(
        samples,
        FractionBars(HOSTILE, HOSTILE, [HOSTILE], [HOSTILE], np.ones((1, 1))),
        Table(HOSTILE, [Column(HOSTILE, description=HOSTILE)], [[HOSTILE]], HOSTILE),
        Tables(HOSTILE, [Table(HOSTILE, [Column("a"), Column("b")], [[HOSTILE, ShadedCell(HOSTILE, 3)]])]),
        Facts(HOSTILE, {HOSTILE: HOSTILE}),
        Notes(HOSTILE, [HOSTILE]),
    )  # fmt: skip
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<b>\\x1b" not in text
    assert "\x1b" not in text
    assert "49" not in re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL)
    assert text.count("<script") == 3  # its own, and two of data
    for data in re.findall(r'application/json">(.*?)</script>', text, re.DOTALL):
        json.loads(data)


def test_json_cannot_leave_its_element():
    text = as_json({"a": "</script><!--", "b": [1.5, None]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--", "b": [1.5, None]}


def test_what_is_not_a_number_is_drawn_nowhere():
    bars = FractionBars("t", "c", ["a", "b"], ["x"], np.array([[0.123456], [np.nan]]))
    assert bars.data["values"] == [[0.1235, None]]


@pytest.mark.parametrize("count", [1, len(COLOURS), 40])
def test_every_label_has_a_colour_of_its_own(count):
    colours = colours_of(count)
    assert len(set(colours)) == count
    assert all(map(is_color_like, colours))  # by matplotlib, which draws --plot


def test_bars_of_more_labels_than_there_are_chosen_colours_are_drawn():
    labels = [f"label {number}" for number in range(len(COLOURS) + 2)]
    fractions = np.full((3, len(labels)), 1 / len(labels))
    svg = samples_picture(
        "t", None, FractionBars("t", "c", ["a", "b", "d"], labels, fractions), ".svg"
    )
    assert all(label.encode() in svg for label in labels)


def test_the_same_content_is_the_same_bytes():
    assert page_of(Notes("n", ["p"])) == page_of(Notes("n", ["p"]))
