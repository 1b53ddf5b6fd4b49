"""A headless Chromium for the tests of this folder (`make test-browser`); skipped, with the reason, where none is."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Of those with a page of their own: the longest names, the widest, the longest.
SINGLE = ("card", "retrievalguard/table", "claims")
PAGES = ("overview", *SINGLE, "comparison")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOOK = Path(__file__).with_name("look.js")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser: CHROMIUM in the environment, or the first of NAMES that is installed."""
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: {named or ', '.join(NAMES)} not found; CHROMIUM may name one")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator:
    """The browser, started."""
    reason = "no driver: pip install 'nndefense[browser]'"
    driver = pytest.importorskip("playwright.sync_api", reason=reason)
    pytest.importorskip("axe_playwright_python", reason=reason)
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Path]:
    """Files of pages by their names."""
    from . import pages_case

    folder = tmp_path_factory.mktemp("pages")
    return {**pages_case.report_pages(folder, SINGLE, request), "comparison": pages_case.comparison_page(folder)}


@pytest.fixture
def open_page(browser) -> Callable:
    """Opens a file or HTML in a window of a width, in light or dark colours, with `look` at hand.

    The page has two more attributes: `complaints`, what the console said, and `asked`, addresses that were asked for.
    """

    @contextmanager
    def opened(page: Path | str, width: int = 1280, scheme: str = "light") -> Iterator:
        window = {"width": width, "height": 800}
        context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce", offline=True)
        context.add_init_script(path=LOOK)
        tab = context.new_page()
        tab.complaints, tab.asked = [], []
        tab.on("console", lambda said: tab.complaints.append(f"{said.type}: {said.text}"))
        tab.on("pageerror", lambda error: tab.complaints.append(f"error: {error}"))
        tab.on("request", lambda request: tab.asked.append(request.url))
        if isinstance(page, Path):
            tab.goto(page.as_uri())
        else:
            tab.set_content(page)
        yield tab
        context.close()

    return opened
