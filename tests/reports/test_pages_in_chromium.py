"""A report in a real browser: no errors, no requests, and tables and pictures that answer."""

import os

import pytest
from made_up_pages import MADE_UP

from genomai_cli.reports.page import rendered

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed here")
reports = pytest.importorskip("benchmarks.speed.reports")
needs_chromium = pytest.mark.skipif(
    reports.CHROMIUM is None, reason="Chromium is not installed here"
)
pytestmark = needs_chromium
SAMPLES = 2504
HOSTILE = [
    '<img src=x onerror="document.title=1">',
    "=cmd|' /C calc'!A0",
    "‮evil",
    "a" * 500,
    "'\"&;{{7*7}}",
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=reports.CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(reports.made_up_page(SAMPLES))
    return path


@pytest.fixture
def open_page(browser):
    """Opens a file; afterwards there may be no errors in the console, and no requests for anything else."""
    pages, errors, requests = [], [], []

    def open_file(path, **options):
        page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
        pages.append(page)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_file
    for page in pages:
        page.close()
    assert errors == []
    assert len(requests) == len(pages)


def column(page, number):
    """The visible cells of a column of the table of samples."""
    cells = page.locator(f"table.linked tbody tr > :nth-child({number})")
    return cells.all_inner_texts()


def middle_of(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_it_is_small_enough_to_send(file):
    assert os.path.getsize(file) < 5_000_000


def test_tables_show_a_hundred_rows_and_more_when_asked(open_page, file):
    page = open_page(file)
    assert len(column(page, 1)) == 100
    page.get_by_role("button", name="Show 500 more").click()
    assert len(column(page, 1)) == 600


def test_tables_sort_by_mouse_and_by_keyboard(open_page, file):
    page = open_page(file)
    header = page.locator("table.linked thead th").nth(2)
    header.get_by_role("button").click()
    values = [float(text) for text in column(page, 3)]
    assert values == sorted(values)
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").press("Enter")
    values = [float(text) for text in column(page, 3)]
    assert values == sorted(values, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"


def test_names_sort_as_people_count(open_page, file):
    page = open_page(file)
    page.locator("table.linked thead th").nth(0).get_by_role("button").click()
    assert column(page, 1)[:3] == ["sample_0", "sample_1", "sample_2"]


def test_search_and_filters_narrow_the_table(open_page, file):
    page = open_page(file)
    page.get_by_label("Search").fill("SAMPLE_250")
    assert column(page, 1) == ["sample_250", *(f"sample_250{n}" for n in range(4))]
    page.get_by_label("Search").fill("")
    page.locator("section:has(table.linked) select").nth(2).select_option("NOVEL")
    flags = column(page, 8)
    assert flags
    assert set(flags) == {"ADMIXED, NOVEL"}
    assert "of 2,504 rows" in page.locator("section:has(table.linked) .count").inner_text()


def test_the_map_tells_whose_mark_the_mouse_is_on(open_page, file):
    page = open_page(file)
    page.get_by_label("Search").fill("sample_77")
    box = page.locator(".map canvas").bounding_box()
    names = set()
    for x in range(40, int(box["width"]), 12):
        for y in range(6, int(box["height"]) - 40, 12):
            page.mouse.move(box["x"] + x, box["y"] + y)
            tooltip = page.locator("#tip")
            if tooltip.is_visible():
                names.add(tooltip.locator("b").inner_text())
        if len(names) > 2:
            break
    assert len(names) > 2
    assert all("sample_77" in name for name in names)


def test_bars_tell_the_fractions_and_a_click_leads_to_the_row(open_page, file):
    page = open_page(file)
    page.locator(".bars canvas").scroll_into_view_if_needed()
    page.mouse.move(*middle_of(page, ".bars canvas"))
    name = page.locator("#tip b").inner_text()
    assert "%" in page.locator("#tip span").first.inner_text()
    page.mouse.click(*middle_of(page, ".bars canvas"))
    chosen = page.locator("tr.chosen")
    assert chosen.locator("th").inner_text() == name
    assert chosen.is_visible()


def pixels(page, selector):
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(selector).evaluate("canvas => canvas.toDataURL()")


def test_the_map_moves_zooms_and_changes_axes(open_page, file):
    page = open_page(file)
    images = {pixels(page, ".map canvas")}
    page.get_by_label("Zoom in").click()
    images.add(pixels(page, ".map canvas"))
    page.locator(".map canvas").press("ArrowRight")
    images.add(pixels(page, ".map canvas"))
    page.get_by_label("y axis").select_option("PC3")
    images.add(pixels(page, ".map canvas"))
    assert len(images) == 4


def test_it_is_dark_where_the_system_is_and_when_asked(open_page, file):
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (open_page(file, color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(colour) == "rgb(255, 255, 255)"
    assert dark.evaluate(colour) != light.evaluate(colour)
    before = pixels(light, ".map canvas")
    light.get_by_role("button", name="Dark").click()
    assert light.evaluate(colour) == dark.evaluate(colour)
    assert pixels(light, ".map canvas") != before


def test_on_paper_all_rows_are_there_and_no_buttons(open_page, file):
    page = open_page(file, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert len(column(page, 1)) == SAMPLES
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_label("Search").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(column(page, 1)) == 100


def test_without_its_script_the_table_is_whole(browser, file):
    page = browser.new_page(java_script_enabled=False)
    page.goto(file.as_uri())
    assert page.locator("table.linked tbody tr").count() == SAMPLES
    assert page.locator("table.linked tbody tr").last.is_visible()
    page.close()


@pytest.mark.parametrize("names", [HOSTILE, HOSTILE[:1]], ids=["five", "one"])
def test_hostile_names_are_shown_as_they_are(open_page, tmp_path, names):
    (tmp_path / "hostile.html").write_bytes(reports.made_up_page(len(names), names))
    page = open_page(tmp_path / "hostile.html")
    assert column(page, 1) == names
    assert page.title() != "1"
    assert page.locator("img").count() == 0
    page.locator(".bars canvas").scroll_into_view_if_needed()
    page.mouse.move(*middle_of(page, ".bars canvas"))
    assert page.locator("#tip b").inner_text() in names
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", MADE_UP)
def test_the_page_of_a_command(open_page, tmp_path, name):
    """Its tables sort and search, its drawings are light and dark, and it fits a screen of any width."""
    file = tmp_path / "page.html"
    file.write_bytes(rendered(MADE_UP[name]()))
    page = open_page(file)
    table = page.locator("table.rows").filter(has=page.locator("tbody tr + tr")).first
    header = table.locator("thead th").first
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    search = page.get_by_label("Search")
    if search.count():
        rows = page.locator(f"section:has(#{search.first.evaluate(SECTION)}) tbody tr")
        query = rows.last.inner_text().split("\t")[0].strip()
        search.first.fill(query)
        assert all(query.lower() in text.lower() for text in rows.all_inner_texts())
        assert rows.count() > 0
        search.first.fill("there is no such row")
        assert rows.count() == 0
        search.first.fill("")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    text_colour = "getComputedStyle(document.querySelector('figure svg text')).fill"
    if page.locator("figure svg").count():
        light = page.evaluate(text_colour)
        page.get_by_role("button", name="Dark").click()
        assert page.evaluate(text_colour) != light
    page.set_viewport_size({"width": 480, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


SECTION = "element => element.closest('section').querySelector('h2').id"
