"""The report in a real browser, with no network: views, tables, charts, search, links, keys."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_sets.windows import Windows
from tl_entk import plot
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.report.direction_pages import (
    DirectionPage,
    DirectionPages,
    Near,
    show_windows,
    window_groups,
)
from tl_entk.report.page import write_report
from tl_entk.report.parts import Fold, Picture, Section, Signed, Table

CHROMIUM = os.environ.get("CHROMIUM") or next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
pytestmark = [
    pytest.mark.plain,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
]

N, T = 60, 6
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "w" * 600,
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f4",
    '\u2028line\u2029 & "quotes" \' {{ 7 * 7 }} ${1}',
]


def windows(n=N):
    index = torch.arange(n)
    return Windows(
        tokens=torch.arange(n * T).reshape(n, T) % 50,
        words=tuple(HOSTILE[i % len(HOSTILE)] for i in range(n)),
        model_words=tuple(HOSTILE[-1 - i % len(HOSTILE)] for i in range(n)),
        tags=tuple("NOUN" if i % 3 else "VERB" for i in range(n)),
        model_tags=tuple("NOUN" for _ in range(n)),
        stories=tuple(HOSTILE),
        story=index % len(HOSTILE),
        start=torch.full((n,), 10),
        window_start=torch.zeros(n, dtype=torch.long),
        pieces=torch.ones(n, dtype=torch.long),
    )


def decode(token):
    return HOSTILE[token % len(HOSTILE)] if token % 7 == 0 else f" word{token}"


def page(number, scores, examples):
    parts = torch.linspace(-1, 1, N * T).reshape(N, T)
    groups, data = window_groups(scores, parts if number == 0 else None, examples)
    chart = plot.windows(scores[:, None], 0, examples, interactive=True, width="container")
    return DirectionPage(
        f"direction-{number}", f"direction {number}", f"direction {number}: {HOSTILE[0]}",
        [("eigenvalue", "1.0")], [HOSTILE[1]], Picture(f"scores_{number}", "Scores.", chart, False),
        [HOSTILE[2], " threw"], [" tower"], [Near("another", f"#direction-{1 - number}", 0.5)],
        groups, data, number == 0, "" if number == 0 else "not known", ["VERB", 0.25 + number],
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    examples = windows()
    scores = [torch.linspace(-1, 2, N), torch.linspace(3, -1, N)]
    directions = DirectionPages(
        [page(i, one, examples) for i, one in enumerate(scores)],
        show_windows(examples, decode, [bool(i % 2) for i in range(N)]),
        ("direction", "labels", "AP"),
        {"VERB": "#direction-1"},
    )
    rows = [
        [f"label {i}", Signed(IntervalEstimate(i / 9 - 1, -1.0, 2.0)), i / 20] for i in range(20)
    ]
    shares = {name: {f"blocks.{i}": 0.1 * i + 0.01 * len(name) for i in range(4)} for name in "ab"}
    heat = plot.shares(shares, links={"a": "#direction-0"}, interactive=True, width="container")
    lines = plot.spectrum(np.geomspace(1, 1e-4, 12), interactive=True, width="container")
    return write_report(
        tmp_path_factory.mktemp("report"),
        f"Title {HOSTILE[0]}",
        HOSTILE[1],
        [("key figure", "0.5")],
        [
            Section("Numbers", "Text.\n\nMore.", [Table("t", "A table.", ("a", "b", "c"), rows)]),
            Section("Charts", "", [Picture("shares", "Shares.", heat)], question="Where?"),
            Section("Folded", "", [Fold("Open me", [Picture("spectrum", "Spectrum.", lines)])]),
        ],
        answer=f"The answer {HOSTILE[0]}",
        hero=[Picture("hero", "Hero.", heat)],
        directions=directions,
    )


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def tab(browser, report):
    """A page that holds what went wrong in it; nothing may."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    found = context.new_page()
    wrong = []
    found.on("console", lambda message: wrong.append(message.text))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("request", lambda one: wrong.append(one.url) if one.url.startswith("http") else None)
    found.goto(report.as_uri())
    found.wait_for_selector("#overview.shown")
    yield found
    assert wrong == []
    assert found.evaluate("window.hacked") is None
    context.close()


def go(tab, view):
    tab.evaluate("view => { location.hash = view }", view)
    tab.wait_for_selector(f"#{view}.shown")


def test_every_view_shows_alone_and_draws_its_charts(tab, report):
    views = tab.eval_on_selector_all(".view", "found => found.map(one => one.id)")
    assert views == [
        "overview", "numbers", "charts", "folded", "directions", "direction-0", "direction-1",
    ]  # fmt: skip
    shots = Path(os.environ.get("SCREENSHOTS") or report.parent)
    for view in views:
        go(tab, view)
        assert tab.eval_on_selector_all(".view.shown", "found => found.map(one => one.id)") == [
            view
        ]
        for box in tab.query_selector_all(".view.shown > figure .chart[data-chart]"):
            box.wait_for_selector("svg.marks")
        tab.screenshot(path=shots / f"{view}.png")
    # a chart within a fold is drawn when it is opened
    go(tab, "folded")
    assert tab.query_selector("#folded svg.marks") is None
    tab.click("#folded summary")
    tab.wait_for_selector("#folded svg.marks")


def test_tables_sort_and_filter(tab):
    go(tab, "numbers")
    tab.wait_for_selector("#numbers .dt-search input")
    first = "#numbers tbody tr:first-child td:first-child"
    assert tab.inner_text(first) == "label 0"
    assert tab.inner_text("#numbers tbody tr:last-child td:nth-child(2)").startswith("+1.11")
    # by the number, not by its text
    for order in ("asc", "desc"):
        tab.click("#numbers thead th:nth-child(2)")
        tab.wait_for_selector(f"#numbers thead th.dt-ordering-{order}:nth-child(2)")
    assert tab.inner_text(first) == "label 19"
    tab.fill("#numbers .dt-search input", '"label 7"')
    tab.wait_for_selector(f"{first}:text-is('label 7')")
    assert tab.locator("#numbers tbody tr").count() == 1


def test_search_finds_labels_directions_and_tokens(tab):
    for words, found in (("verb", "VERB"), ("threw", "direction 0"), ("numbers", "Numbers")):
        tab.keyboard.press("/")
        tab.keyboard.type(words)
        assert found in tab.inner_text("#found li:first-child")
        tab.keyboard.press("Enter")
        assert tab.inner_text("#found") == ""
    assert tab.evaluate("location.hash") == "#numbers"
    tab.fill("#search", "nothing like it")
    assert tab.inner_text("#found") == "Nothing found."


def test_keys_and_links(tab):
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector("#numbers.shown")
    assert tab.get_attribute("nav a[href='#numbers']", "aria-current") == "page"
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_selector("#overview.shown")
    tab.keyboard.press("?")
    assert tab.is_visible("#help")
    tab.keyboard.press("Escape")
    tab.keyboard.press("d")
    assert tab.get_attribute("html", "data-theme") == "dark"
    go(tab, "charts")
    tab.wait_for_selector("#charts svg.marks")
    tab.click("#charts svg.marks .mark-text.role-mark text >> nth=0")
    tab.wait_for_selector("#direction-0.shown")
    assert tab.get_attribute("nav a[href='#directions']", "aria-current") == "page"
    tab.click("#direction-0 .near a")
    tab.wait_for_selector("#direction-1.shown")
    tab.go_back()
    tab.wait_for_selector("#direction-0.shown")


def test_windows_show_what_each_token_contributes_as_text(tab):
    go(tab, "direction-0")
    rows = tab.locator("#direction-0 .windows[data-group='highest'] li")
    assert rows.count() == 20
    tokens = rows.nth(0).locator(".text span")
    assert tokens.count() == T
    shown = [tokens.nth(i).inner_text() for i in range(T)]
    expected = [decode(int(token)) for token in windows().tokens[N - 1]]
    assert [text.strip() for text in shown] == [text.strip() for text in expected]
    assert "of 2.00" in tokens.nth(0).get_attribute("title")
    assert "rgba" in tokens.nth(0).get_attribute("style")
    assert rows.nth(0).locator(".score").inner_text().startswith("2.00")
    # where contributions are not known, tokens are not tinted, and it is said why
    go(tab, "direction-1")
    row = tab.locator("#direction-1 .windows[data-group='highest'] li").nth(0)
    assert row.locator(".text span").nth(0).get_attribute("style") is None
    assert "not known" in tab.inner_text("#direction-1")
    tenth = tab.locator("#direction-1 details").nth(4)
    tenth.locator("summary").click()
    tenth.locator("li").nth(4).wait_for()
    assert tenth.locator("li").count() == 5


def test_nothing_spills_over_on_a_narrow_screen(tab):
    tab.set_viewport_size({"width": 420, "height": 800})
    for view in ("overview", "numbers", "charts", "direction-0"):
        go(tab, view)
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 420, view


def test_it_opens_within_two_seconds_and_prints_every_view(browser, report, tmp_path):
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    taken = tab.evaluate(
        "performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart"
    )
    assert taken < 2000 * float(os.environ.get("SLOWER", "3"))
    tab.emulate_media(media="print")
    assert tab.is_visible("#folded")
    assert tab.is_visible("#direction-1")
    assert tab.is_hidden("nav")
    tab.pdf(path=tmp_path / "report.pdf")
    context.close()


def test_without_javascript_everything_is_there(browser, report):
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert tab.is_visible("#numbers table")
    assert tab.is_visible("#charts img")
    assert tab.is_visible("#direction-0 .windows li")
    context.close()
