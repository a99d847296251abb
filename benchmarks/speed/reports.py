"""How large a report of many samples is, and how soon it can be used in Chromium.

    python -m benchmarks.speed.reports [--samples 2504] [--times 5]

Prints a row: kilobytes of the page, and the milliseconds from opening the file until tables and pictures answer
(median and slowest of so many visits, each in a browser that has seen nothing), beside what the page's main thread
computed until then, which other programs do not lengthen. Needs `playwright` and a Chromium.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import sync_playwright

from genomai_cli.reports.page import Page, rendered
from genomai_cli.reports.sections import (
    Column,
    Facts,
    FractionBars,
    ReferenceGroup,
    SampleMap,
    Section,
    Table,
    Tile,
    Tiles,
)

LABELS = ("AFR", "AMR", "EAS", "EUR", "SAS")
GROUPS, AXES = 26, 6
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def made_up_page(samples: int, names: list[str] | None = None) -> bytes:
    """A report like that of `classify` for so many samples, all made up."""
    rng = np.random.default_rng(7)
    kind = rng.integers(len(LABELS), size=samples)
    centres = rng.normal(0, 1, (GROUPS, AXES))
    coordinates = centres[kind * 5] + rng.normal(0, 0.1, (samples, AXES))
    fractions = rng.dirichlet(np.full(len(LABELS), 0.2), samples)
    flagged = rng.random(samples) < 0.05
    names = [f"sample_{n}" for n in range(samples)] if names is None else names
    groups = [
        ReferenceGroup(f"P{n:02}", LABELS[n // 5 % 5], centre, np.diag(np.full(AXES, 0.01)))
        for n, centre in enumerate(centres)
    ]
    columns = [
        Column("sample"),
        Column("superpop", tip=True, filtered=True),
        Column("superpop p", number=True, tip=True),
        Column("pop", tip=True, filtered=True),
        Column("pop p", number=True),
        Column("used", number=True),
        Column("call rate", number=True),
        Column("flags", tip=True, filtered=True, warns=True),
        *(Column(f"{label} %", number=True) for label in LABELS),
    ]
    rows = [
        (
            name,
            LABELS[kind[n]],
            f"{rng.uniform(0.3, 1):.4f}",
            f"P{5 * kind[n]:02}",
            f"{rng.uniform(0.1, 1):.4f}",
            "24,493",
            f"{rng.uniform(0.9, 1):.4f}",
            "ADMIXED, NOVEL" if flagged[n] else "",
            *(f"{100 * value:.1f}" for value in fractions[n]),
        )
        for n, name in enumerate(names)
    ]
    sections: list[Section] = [
        Tiles([Tile("samples", f"{samples:,}")]),
        SampleMap(
            "Map",
            "A map.",
            [f"PC{n + 1}" for n in range(AXES)],
            coordinates,
            LABELS,
            kind,
            flagged,
            groups,
        ),
        FractionBars("Proportions", "Bars.", names, LABELS, fractions),
        Table("Samples", columns, rows, linked=True),
        Facts("How it was made", {"program": "made up"}),
    ]
    return rendered(Page(f"{samples:,} samples", "Made up", sections))


def milliseconds_until_ready(file: Path) -> tuple[float, float]:
    """From opening the file until the page answers, in a fresh browser: by the clock, and of its main thread."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        ready = float(page.get_attribute("html", "data-ready") or "nan")
        metrics = session.send("Performance.getMetrics")["metrics"]
        busy = next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
        browser.close()
    return ready, 1000 * busy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=2504, metavar="N")
    parser.add_argument("--times", type=int, default=5, metavar="N")
    parser.add_argument(
        "--page", type=Path, metavar="HTML", help="this page instead of a made-up one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.page or Path(folder) / "report.html"
        if options.page is None:
            file.write_bytes(made_up_page(options.samples))
        timings = [milliseconds_until_ready(file.resolve()) for _ in range(options.times)]
        times, busy = ([timing[index] for timing in timings] for index in (0, 1))
        size = file.stat().st_size / 1000
    print("page\tkilobytes\tready_ms_median\tready_ms_slowest\tmain_thread_ms_median")
    name = f"{options.samples} made-up samples" if options.page is None else options.page.name
    print(
        name,
        f"{size:.0f}",
        f"{median(times):.0f}",
        f"{max(times):.0f}",
        f"{median(busy):.0f}",
        sep="\t",
    )


if __name__ == "__main__":
    main()
