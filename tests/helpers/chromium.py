"""A real browser for tests: Debian's Chromium, driven by Selenium from the registry."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --hide-scrollbars "
    "--force-prefers-reduced-motion --force-device-scale-factor=1 --disable-lcd-text"
).split()
WAIT_SECONDS = 20


@contextmanager
def chromium(profile: Path, size: tuple[int, int] = (900, 620)) -> Iterator[Browser]:
    """Start a browser with a profile of its own; skip the test where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("there is no chromium, or no chromedriver (Debian: chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(driver)
    window = selenium.Chrome(options=options, service=service)
    try:
        # That of the page, without what a window has around it.
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield Browser(window)
    finally:
        window.quit()


class Browser:
    """A window, asked in the terms of the tests."""

    def __init__(self, window: Any) -> None:
        self.window = window

    def open(self, address: str) -> None:
        self.window.get(address)

    def js(self, code: str, *args: Any) -> Any:
        """Run *code* in the page; return what it returns."""
        return self.window.execute_script(code, *args)

    def wait(self, condition: str | Callable[[], Any]) -> Any:
        """Wait until an expression of JavaScript, or a function, is true; return it."""
        from selenium.webdriver.support.ui import WebDriverWait

        def holds(_window: Any) -> Any:
            return condition() if callable(condition) else self.js(f"return {condition}")

        return WebDriverWait(self.window, WAIT_SECONDS, 0.02).until(holds, str(condition))

    def find(self, selector: str) -> Any:
        return self.wait(lambda: self.window.find_elements("css selector", selector))[0]

    def press(self, *keys: str) -> None:
        """Press keys, where the focus is."""
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.window.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def text(self, selector: str = "main") -> str:
        return str(self.find(selector).text)

    def complaints(self) -> list[str]:
        """Return what the browser has complained of: policies, errors of scripts."""
        return [entry["message"] for entry in self.window.get_log("browser")]

    def hosts(self) -> set[str]:
        """Return the hosts that the page has asked for anything."""
        code = "return performance.getEntriesByType('resource').map(e => new URL(e.name).host)"
        return set(self.js(code))

    def save(self, path: Path) -> None:
        """Save a picture of what is seen."""
        self.window.save_screenshot(str(path))
