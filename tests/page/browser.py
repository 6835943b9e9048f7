# SPDX-License-Identifier: Apache-2.0
"""A real browser, without a network, on pages of ssmsweep."""
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.environ["SSMSWEEP_SOURCE"], "tests", "cli"))
import harness  # noqa: E402

CHROMIUM, DRIVER, TIDY = (shutil.which(name) for name in ("chromium", "chromedriver", "tidy"))
PROBE = sys.argv[1]
LIMIT = 60    # seconds
WIDTHS = (390, 1280, 2560)
COMPONENTS = ["mixer_input", "conv1d_input", "conv1d_output", "ssm_input", "ssm_output", "mixer_output"]


def need():
    """Ends the test where it cannot be made, or is not wanted."""
    if os.environ.get("SSMSWEEP_PAGE") == "OFF":
        harness.skip("not asked for: 'tests/run.sh page' or SSMSWEEP_PAGE=ON does")
    lacking = [name for name, path in (("chromium", CHROMIUM), ("chromedriver", DRIVER), ("tidy", TIDY)) if not path]
    try:
        import selenium  # noqa: F401
    except ImportError:
        lacking.append("selenium")
    if lacking:
        harness.skip("not installed: %s; jobs/setup.sh page or tests/run.sh page does" % ", ".join(lacking))


def sweep(folder, *further):
    """A small sweep of the demo model with all that a page can show; returns its sweep.json."""
    done = harness.run(["-q", "--all-modes", "--store", "none", "--components", "all", "--calib_data_num", "3,5", "--calib_seqlen", "40",
                        "--noise", "2", "--shuffle-calib", "2", "--bootstrap", "199", "--gate", "mode=fp16 mse<1; mode=0 mse<1e-30",
                        *further], 2, folder)
    if done.status != 1:
        raise RuntimeError("the sweep ends with %s: %s" % (done.status, done.err))
    return harness.read_json(os.path.join(folder, "comparisons", "sweep.json"))


def made(what, folder):
    """A page of page_probe."""
    path = os.path.join(folder, what + ".html")
    with open(path, "wb") as out:
        subprocess.run([PROBE, what], stdout=out, check=True)
    return path


def tidy(path):
    """What tidy has to say of a page; nothing where it is valid."""
    done = subprocess.run([TIDY, "-q", "-e", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode("utf-8", "replace")


def same(shown, value, percent=False, least=4):
    """Is a number as shown, with so many digits or more, the one of the file?"""
    if value is None:
        return shown in ("n/a", "", "infinite")
    try:
        number = float(shown) / (100 if percent else 1)
    except ValueError:
        return False
    digits = len(re.sub(r"^-?[0.]+|e.*|[.\-+]", "", shown)) or 1    # but for zeros that are left out behind the point
    return number == value or math.isclose(number, value, rel_tol=0.51 * 10.0 ** (1 - max(digits, least)))


class Browser:
    """A window of a given width; downloads go to `folder`."""

    def __init__(self, folder, width=1280):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service
        options = Options()
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-device-scale-factor=1",
                     "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--user-data-dir=" +
                     os.path.join(folder, "profile")):
            options.add_argument(word)
        options.binary_location = CHROMIUM
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.folder = folder
        self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        self.call("Network.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
        self.resize(width)
        self.driver.get("about:blank")
        self.requests()    # of the browser's own first page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def call(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def resize(self, width):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def open(self, path, link=""):
        self.driver.get("about:blank")
        self.path = path
        self.driver.get("file://" + path + link)

    def again(self):
        self.open(self.path, self.run("return location.hash"))

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains
        chain = ActionChains(self.driver)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def click(self, element):
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def hover(self, element):
        from selenium.webdriver.common.action_chains import ActionChains
        ActionChains(self.driver).move_to_element(element).perform()

    def choose(self, control, text):
        from selenium.webdriver.support.ui import Select
        Select(self.find("#" + control)).select_by_visible_text(text)

    def labels(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.getAttribute('aria-label'))", selector)

    def said(self):
        """What the console said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """What was asked of anybody since the last call."""
        urls = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return urls

    def download(self, selector, name):
        """The bytes of a file that a button gives."""
        path = os.path.join(self.folder, name)
        if os.path.exists(path):
            os.remove(path)
        self.click(self.find(selector))
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(path) or os.path.exists(path + ".crdownload"):
            if time.monotonic() > deadline:
                raise RuntimeError(name + " does not come")
            time.sleep(0.02)
        return harness.read_bytes(path)
