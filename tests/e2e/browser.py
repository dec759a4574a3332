"""A real browser for the console's tests: Debian's Chromium, driven by Playwright."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from ml_platform.server.console import BUILT
from tests.docs.markdown import ROOT

AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


class NoBrowserError(Exception):
    """Why no browser could be had."""


def chromium_path() -> str:
    """Where Chromium is; installs Debian's when it may."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) and _starts(found):
            return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoBrowserError(
            "there is no Chromium, and it may not be installed here (apt-get install chromium)"
        )
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium"
    done = subprocess.run(
        ["sh", "-c", install],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    found = shutil.which("chromium")
    if found is None:
        raise NoBrowserError(f"Chromium could not be installed: {done.stderr.strip()[-300:]}")
    return found


def _starts(program: str) -> bool:
    """Whether it is a browser: some systems put a program there that only says how to install one."""
    asked = subprocess.run([program, "--version"], capture_output=True, timeout=60)
    return asked.returncode == 0


def why_not() -> str | None:
    """What the console's tests lack, or None."""
    if not (BUILT / "index.html").is_file():
        return "the console is not built (make console)"
    if not AXE.is_file():
        return "the console's packages are not installed (make console)"
    try:
        chromium_path()
    except (NoBrowserError, subprocess.SubprocessError) as error:
        return str(error)
    return None


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Somebody signed in, whose browser notes every error that it meets."""

    context: BrowserContext
    page: Page
    url: str
    team: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def open(self, path: str, *, heading: str | None = None) -> Page:
        """Goes to an address of the team and waits until the screen is there."""
        self.page.goto(f"{self.url}/console/{self.team}{path}")
        self.settled()
        if heading is not None:
            self.page.get_by_role("heading", level=1, name=heading).wait_for()
        return self.page

    def settled(self) -> None:
        """Waits until nothing of the page is being loaded."""
        self.page.get_by_role("heading", level=1).first.wait_for()
        self.page.wait_for_function("() => !document.querySelector('[aria-label=\"Loading\"]')")

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2 AA, each with the element and what is wrong."""
        self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.page.evaluate(
            "async (tags) => (await axe.run({runOnly: tags})).violations", RULES
        )
        return [
            f"{each['id']}: {each['help']}: {node['html'][:200]} {(node.get('failureSummary') or '')[:300]}"
            for each in found
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels that the page is wider than the window."""
        script = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@contextmanager
def visiting(
    browser: Browser, url: str, team: str, link: str, *, size: dict[str, int], dark: bool = False
) -> Iterator[Visitor]:
    """Signs in by a one-time link."""
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type] # Playwright's own typed dictionary
        color_scheme="dark" if dark else "light",
        has_touch=size == PHONE,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    try:
        page.goto(link)
        page.wait_for_url("**/console/**")
        yield Visitor(context, page, url, team)
    finally:
        context.close()
