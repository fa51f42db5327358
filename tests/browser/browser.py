"""Chromium without a window, driven by Selenium: starting it, looking at a page, and what it asked for."""

import json
import os
import sys
import time

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")

# Root has no sandbox, containers have a small /dev/shm, and nothing but loopback is to be asked.
ARGUMENTS = ["--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


class Browser:
    """One page. `patience_s`: how long whatever is waited for may take."""

    def __init__(self, patience_s):
        self.patience_s = patience_s
        self.requested = []  # every address that was asked for
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ARGUMENTS + (["--no-sandbox"] if os.geteuid() == 0 else []):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        try:
            self.driver = webdriver.Chrome(service=Service(CHROMEDRIVER), options=options)
        except WebDriverException as error:
            print(f"FAILED the browser does not start: {CHROMIUM}, {CHROMEDRIVER}\n{error}\n"
                  "Both are in the packages chromium and chromium-driver of Debian; run "
                  f"'{CHROMIUM} --headless=new --no-sandbox --dump-dom about:blank' to see more.")
            print("0 passed, 1 failed")
            sys.exit(1)
        self.driver.set_page_load_timeout(patience_s)
        self.driver.set_script_timeout(patience_s)

    def close(self):
        self.driver.quit()

    def open(self, address):
        self.driver.get(address)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, element_id):
        return self.run("return document.getElementById(arguments[0]).textContent", element_id)

    def rows(self, table_id):
        """First cell's first line -> the other cells, of a table's body."""
        rows = self.run("return [...document.getElementById(arguments[0]).rows].map((row) =>"
                        " [...row.cells].map((cell) => cell.firstChild.textContent))", table_id)
        return {row[0]: row[1:] for row in rows}

    def wait(self, condition, what):
        """Waits until the condition holds; returns what it gave."""
        end = time.monotonic() + self.patience_s
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < end, f"{what}; the page says: {self.run('return document.body.innerText')}"
            time.sleep(0.1)

    # ---- how it looks

    def look(self, width, height, scheme, scale=1):
        """A window of that size in CSS pixels, for somebody who likes it `light` or `dark`."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        # Two frames: one in which it takes effect, and one that is drawn then.
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def save(self, path):
        assert self.driver.save_screenshot(str(path)), path

    # ---- what it did

    def complaints(self):
        """What the console says since the last call: errors and warnings, those of the network too."""
        return [f"{line['level']} {line['message']}" for line in self.driver.get_log("browser")]

    def note_requests(self):
        """All addresses that were asked for so far."""
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
        return self.requested
