"""The browser with the page in it: what a person does there, and what there is to see."""

import base64
import json
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.by import By

from host import until

PASSWORD = "correct horse battery"
PATIENCE = 15

# What is wrong with the visible part of the page, in the eyes of somebody who cannot see it well.
FAULTS = """
const faults = [];
const scope = document.querySelector('dialog[open]') ?? document;
const seen = node => node.checkVisibility({ visibilityProperty: true });
for (const input of scope.querySelectorAll('input')) {
  if (seen(input) && !input.labels[0]?.textContent.trim()) faults.push('no label: ' + input.name);
}
for (const button of scope.querySelectorAll('button, a')) {
  if (seen(button) && !(button.ariaLabel ?? button.textContent).trim()) faults.push('no name: ' + button.id);
}
for (const image of scope.querySelectorAll('img')) if (seen(image) && !image.alt) faults.push('no alt');
const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('twice: ' + id);
for (const node of scope.querySelectorAll('[aria-labelledby], [aria-describedby]')) {
  const named = (node.getAttribute('aria-labelledby') ?? '') + ' ' + (node.getAttribute('aria-describedby') ?? '');
  for (const id of named.trim().split(/\\s+/)) if (!document.getElementById(id)) faults.push('no such id: ' + id);
}
if (scope.querySelectorAll('[tabindex]:not([tabindex="-1"])').length) faults.push('an order of its own');

// WCAG 2.2, 1.4.3: text has a contrast of 4.5 to 1 or more.
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = parts => {
  const [r, g, b] = parts.slice(0, 3).map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = node => {
  for (let at = node; at; at = at.parentElement) {
    const parts = rgb(getComputedStyle(at).backgroundColor);
    if (parts.length < 4 || parts[3] > 0) return parts;
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
};
for (const node of scope.querySelectorAll('*')) {
  const hasText = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
  if (!hasText || !seen(node) || node.closest('[aria-disabled=true], noscript, .unseen')) continue;
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
  const contrast = (a + .05) / (b + .05);
  if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(1)}: ${node.textContent.trim().slice(0, 30)}`);
}
return faults;
"""

# The widths of what sticks out of a narrow window.
WIDE = """
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= width) return [];
return [...document.querySelectorAll('body *')].filter(node => node.getBoundingClientRect().right > width + 1)
  .map(node => node.tagName + '#' + node.id + ' ' + Math.round(node.getBoundingClientRect().right));
"""


class Page:
    """The browser with the page in it."""

    def __init__(self, origin, downloads, screenshots=None, server=None):
        """Of a server with a name of its own the browser is told the address and the key."""
        self.origin = origin
        self.downloads = Path(downloads)
        self.screenshots = Path(screenshots) if screenshots else None
        self.taken = set()
        self.requests = []
        self.complaints = []
        self.script = None
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        for argument in (
            "--headless=new", "--disable-dev-shm-usage", "--no-proxy-server", "--disable-background-networking",
            "--disable-component-update", "--no-first-run", "--window-size=1000,700", "--force-color-profile=srgb",
        ):  # fmt: skip
            options.add_argument(argument)
        if os.getuid() == 0:
            options.add_argument("--no-sandbox")
        if server:
            name = urlsplit(origin).hostname
            options.add_argument(f"--host-resolver-rules=MAP {name}:443 127.0.0.1:{server.port}")
            options.add_argument(f"--ignore-certificate-errors-spki-list={server.certificate.print}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        prefs = {"download.default_directory": str(downloads), "download.prompt_for_download": False}
        options.add_experimental_option("prefs", prefs)
        # Chromium's own driver: none is looked for elsewhere.
        service = webdriver.ChromeService(executable_path=program("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)
        self.command(
            "Browser.grantPermissions", origin=origin, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
        )
        self.window(1000, 700)
        self.scheme("light")

    def command(self, name, **members):
        return self.driver.execute_cdp_cmd(name, members)

    def window(self, width, height):
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def scheme(self, scheme):
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.command("Emulation.setEmulatedMedia", features=features)

    def open(self):
        self.driver.get(f"{self.origin}/ui/")
        self.at("login")

    def close(self):
        self.read_logs()
        self.driver.quit()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def seen(self, selector):
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return next((node for node in found if node.is_displayed()), None)

    def wait(self, selector):
        return until(f"{selector} to be seen", lambda: self.seen(selector), PATIENCE)

    def at(self, view):
        """Waits for a view, or for a dialog."""
        self.wait(f"main > section#{view}, dialog#{view}[open]")
        return view

    def message(self, view, *parts):
        """Waits for what a view says."""
        line = self.one(f"#{view} .message")
        until(f"{parts} in the message of {view}", lambda: all(part in line.text for part in parts), PATIENCE)
        return line.text

    def click(self, selector):
        self.wait(selector).click()

    def type(self, selector, text):
        field = self.wait(selector)
        field.clear()
        field.send_keys(text)

    def button(self, words, within=""):
        """Clicks the visible button with these words."""
        self.click_on(lambda node: node.text == words, within, words)

    def action(self, label):
        """Clicks the button that screen readers call this."""
        self.click_on(lambda node: node.get_attribute("aria-label") == label, "#rows", label)

    def click_on(self, fits, within, words):
        def found():
            nodes = self.driver.find_elements(By.CSS_SELECTOR, f"{within} button".strip())
            return next((node for node in nodes if node.is_displayed() and fits(node)), None)

        until(f"a button {words}", found, PATIENCE).click()

    def rows(self):
        names = (
            "return [...document.querySelectorAll('#rows tr')].map(row => [...row.cells].map(cell => cell.innerText))"
        )
        return self.run(names)

    def row(self, name):
        return next(row for row in self.rows() if row[0] == name)

    def active(self):
        return self.driver.switch_to.active_element

    def press(self, *keys):
        self.active().send_keys(*keys)

    def log_in(self, name, password=PASSWORD):
        self.type("#login [name=id]", name)
        self.type("#login [name=password]", password)
        self.button("Log in", "#login")

    def give(self, place, way, value):
        """Answers the form that asks for a proof."""
        if radio := self.seen(f"#{place} [value={way}]"):
            radio.click()
        self.type(f"#{place} [data-for={way}] input", value)
        self.click(f"#{place} form .main")

    def look(self, name):
        """Looks at what is shown now, in a picture if pictures are wanted, narrow and dark as well."""
        if self.screenshots and name not in self.taken:
            self.screenshots.mkdir(parents=True, exist_ok=True)
            picture = self.command("Page.captureScreenshot", format="png")["data"]
            (self.screenshots / f"{name}.png").write_bytes(base64.b64decode(picture))
        self.taken.add(name)
        faults = self.run(FAULTS)
        self.scheme("dark")
        faults += self.run(FAULTS)
        self.scheme("light")
        self.window(320, 640)
        faults += self.run(WIDE)
        self.window(1000, 700)
        if faults:
            raise AssertionError(f"{name}: {faults}")

    def read_logs(self):
        """What was asked for and complained about since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message["method"] == "Network.webSocketCreated":
                self.requests.append(message["params"]["url"])
        for entry in self.driver.get_log("browser"):
            # The browser notes every refusal of the API; those are the point of this test.
            is_refusal = entry["source"] == "network" and f"{self.origin}/v1/" in entry["message"]
            is_fault = entry["level"] == "SEVERE" or "Content Security Policy" in entry["message"]
            if is_fault and not is_refusal:
                self.complaints.append(entry["message"])


def program(name):
    found = shutil.which(name)
    if not found:
        raise SystemExit(f"{name} is needed; Debian has it in the packages chromium and chromium-driver")
    return found
