"""The pages in a real browser: they draw, ask for nothing, run nothing, and fit the window."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from headless_browser import NAMES, Browser, find_browser

from tiergarten.reports import write_comparison
from tiergarten.reports.render import Drawn


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip(f"needs a headless browser: none of {', '.join(NAMES)} is on PATH")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_the_check_itself_notices_what_a_bad_page_does(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://example.org/x.png'><script>console.error('loud'); alert('pop')</script>")
    visit = browser.open(page)
    assert "http://example.org/x.png" in visit.requests
    assert any("loud" in message for message in visit.console)
    assert visit.dialogs == ["pop"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_report_is_quiet_and_asks_for_nothing(browser: Browser, reported: Path, dark: bool) -> None:
    page = reported / "report.html"
    visit = browser.open(page, dark=dark)
    assert visit.console == []
    assert visit.dialogs == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.evaluate("document.title") == "KV tiers, synthetic"


def test_every_figure_is_drawn(browser: Browser, reported: Path, drawings: dict[str, Drawn]) -> None:
    browser.open(reported / "report.html")
    sizes = browser.evaluate("""[...document.querySelectorAll('figure')].map(figure => {
        const picture = figure.querySelector('svg, img').getBoundingClientRect();
        return [figure.id, picture.width, picture.height, figure.querySelectorAll('svg path, svg use, img').length];
    })""")
    assert len(sizes) == len(drawings) >= 18
    for name, width, height, shapes in sizes:
        assert width > 250, name
        assert height > 100, name
        assert shapes > 5, name
    painted = browser.evaluate("""(() => {
        const box = document.querySelector('#figure-breakdown svg path[style*="--blue"]').getBoundingClientRect();
        return box.width > 20 && box.height > 5;
    })()""")
    assert painted


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(browser: Browser, reported: Path, width: int) -> None:
    browser.open(reported / "report.html", width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ_and_both_can_be_read(browser: Browser, reported: Path) -> None:
    contrast = """(() => {
        const light = text => { const v = text.match(/\\d+/g).slice(0, 3).map(n => n / 255).map(
            n => n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
        const pair = (element, ground) => { const a = light(getComputedStyle(element).color), b = light(getComputedStyle(ground).backgroundColor);
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
        const figure = document.querySelector('figure');
        return [getComputedStyle(document.body).backgroundColor, pair(figure.querySelector('h3'), figure),
                pair(figure.querySelector('figcaption'), figure), pair(document.querySelector('.facts'), document.body)];
    })()"""
    grounds = []
    for dark in (False, True):
        browser.open(reported / "report.html", dark=dark)
        ground, *contrasts = browser.evaluate(contrast)
        grounds.append(ground)
        assert min(contrasts) >= 4.5  # WCAG 2.1, 1.4.3
    assert grounds[0] != grounds[1]


def test_hostile_names_stay_text(browser: Browser, hostile: Path, drawings: dict[str, Drawn]) -> None:
    page = hostile / "report.html"
    visit = browser.open(page)
    assert visit.console == []
    assert visit.dialogs == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.evaluate("document.querySelectorAll('script, iframe, object, embed, a, form').length") == 0
    assert browser.evaluate("document.querySelector('h1').textContent") == "<script>alert(1)</script>"
    assert browser.evaluate("document.querySelectorAll('figure svg').length") == len(drawings)


def test_a_comparison_is_quiet_and_drawn(browser: Browser, reported: Path, hostile: Path, tmp_path: Path) -> None:
    page = write_comparison(reported, hostile, tmp_path)
    visit = browser.open(page)
    assert (visit.console, visit.dialogs) == ([], [])
    assert browser.evaluate("document.querySelectorAll('figure svg').length") == 1
    assert browser.evaluate("document.querySelectorAll('script').length") == 0


def test_on_paper_no_table_is_wider_than_the_page(browser: Browser, reported: Path) -> None:
    browser.open(reported / "report.html", width=700)
    browser.call("Emulation.setEmulatedMedia", media="print")
    widths = browser.evaluate(
        "[...document.querySelectorAll('table, pre, figure')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(widths) > 18
    assert max(widths) <= 700
