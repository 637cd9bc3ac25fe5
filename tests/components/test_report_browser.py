"""The report in a real browser: Debian's Chromium, without a window, driven by its own chromedriver.

Needs Debian's packages chromium and chromium-driver: `make test-browser` installs them.
"""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver

pytestmark = pytest.mark.browser

COMPLAINTS = """
const found = [], root = document.documentElement;
if (root.scrollWidth > root.clientWidth) found.push(`scrolls sideways: ${root.scrollWidth} px`);
for (const image of document.images) {
    if (!image.naturalWidth) found.push(`does not show ${image.alt}`);
    if (!image.alt) found.push("a picture without words");
}
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
    const text = words.currentNode.textContent.trim(), box = words.currentNode.parentElement;
    if (!text || !box.checkVisibility()) continue;
    const style = getComputedStyle(box), range = document.createRange();
    if (parseFloat(style.fontSize) < 11) found.push(`too small: ${text}`);
    range.selectNodeContents(words.currentNode);
    const right_px = box.closest(".scroll") ? 0 : range.getBoundingClientRect().right;
    if (right_px > root.clientWidth) found.push(`cut off: ${text}`);
}
for (const image of document.querySelectorAll("img[src^='data:image/svg']")) {
    const smallest_px = 9 * 96 / 72 * image.clientWidth / image.naturalWidth;  // a legend is set in 9 points
    if (smallest_px < 10) found.push(`drawn too small: ${image.alt}`);
}
return found;
"""


@pytest.fixture(scope="module")
def browser():
    found, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert found, "these tests drive Chromium; `make test-browser` installs it"
    assert driver, "these tests drive Chromium by chromedriver; `make test-browser` installs it"
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture
def page(trained):
    return Path(trained.run.folder.uri) / "report" / "index.html"


def complaints(browser, page, width_px):
    """What is wrong with a page in a window of a width, and all that it wrote on the console."""
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.readyState") == "complete"
    assert browser.execute_script("return window.innerWidth") == width_px
    return browser.execute_script(COMPLAINTS) + [entry["message"] for entry in browser.get_log("browser")]


@pytest.mark.parametrize("width_px", [1280, 400])
def test_a_browser_shows_the_report_without_complaint(browser, page, width_px):
    assert complaints(browser, page, width_px) == []


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        ("<script>alert(1)</script>", "Content Security Policy"),
        ("<div style='width:2000px'>wide</div>", "scrolls sideways"),
        ("<img src='data:image/png;base64,AAAA' alt='noise'>", "does not show noise"),
        ("<img src='https://example.invalid/x.png' alt='tracker'>", "does not show tracker"),
        ("<p style='font-size:8px'>fine print</p>", "too small: fine print"),
        ("<p style='margin-left:390px;white-space:nowrap'>beyond the edge</p>", "cut off: beyond the edge"),
    ],
)
def test_what_is_wrong_with_a_page_is_found(browser, page, tmp_path, spoilt, complaint):
    copy = tmp_path / "spoilt.html"
    copy.write_text(page.read_text().replace("</main>", f"{spoilt}</main>"))
    assert any(complaint in found for found in complaints(browser, copy, 400))


def test_a_link_of_the_heading_leads_to_its_section(browser, page):
    browser.get(page.as_uri())
    for link in browser.find_elements("css selector", "nav a"):
        section = browser.find_element("id", link.get_attribute("href").partition("#")[2])
        assert section.find_element("tag name", "h2").text == link.text


def test_the_fields_of_the_experiment_open_on_a_click(browser, page):
    browser.get(page.as_uri())
    fold = browser.find_element("tag name", "details")
    table = fold.find_element("tag name", "table")
    assert not table.is_displayed()
    fold.find_element("tag name", "summary").click()
    assert table.is_displayed()
    assert "model.classifier" in table.text
