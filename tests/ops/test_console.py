"""The console page in a real browser. Screenshots are left in artifacts/ for people to look at.

The page's clock runs sixty times as fast here, so that its ten minutes are ten seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp.test_utils import TestServer
from msgspec.structs import replace
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.ops.desk import RULES, TOKEN, Office
from tests.ops.test_logs import REPORT

pytestmark = [pytest.mark.slow, pytest.mark.process]

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
SPEED = 60
FASTER = f"""
(() => {{
  const began = Date.now(), now = Date.now.bind(Date), later = window.setTimeout.bind(window);
  Date.now = () => began + (now() - began) * {SPEED};
  window.setTimeout = (f, ms) => later(f, ms / {SPEED});
  window.problems = [];
  window.addEventListener("error", e => window.problems.push(e.message));
  window.addEventListener("unhandledrejection", e => window.problems.push(String(e.reason)));
  document.addEventListener("securitypolicyviolation", e => window.problems.push(e.blockedURI));
}})();
"""
MORE = """\
  - name: messages
    mode: shadow
    match: {path: /api/messages/batch}
    scope: ["header:X-Tenant-Id"]
    request: {items: /messages, key: [/id]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
  - name: "archive"
    mode: "off"
    match: {path: /api/archive}
    scope: ["header:X-Tenant-Id"]
    request: {items: /items, key: [/id]}
    upstream: {detects_duplicates: true}
    response: {results: /results}
"""
ALL = RULES.replace("mode: shadow", "mode: enforce") + MORE
MIXES = {
    "orders": {"new": 70, "replayed": 22, "echoed": 3, "mismatch": 1, "rejected": 3, "invalid": 1},
    "transfers": {"new": 40, "replayed": 8, "in_progress": 1, "unavailable": 2},
}

Driver = Chrome
T = TypeVar("T")


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not on PATH: apt-get install chromium chromium-driver"
    return found


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    options = ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--force-color-profile=srgb", "--window-size=1280,1500", "--no-first-run"),
        *("--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"),
    ):
        options.add_argument(flag)
    made = Chrome(options, ChromeService(program("chromedriver")))
    made.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FASTER})
    try:
        yield made
    finally:
        made.quit()


class Traffic:
    """Tells the metrics what a busy proxy would, until it is stopped."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.rng = random.Random(11)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        turn = 0
        while True:
            turn += 1
            self.tell(turn)
            await asyncio.sleep(0.03)

    def tell(self, turn: int) -> None:
        metrics, rng = self.office.metrics, self.rng
        wave = 1 + 0.4 * random.Random(turn // 40).random() + 0.2 * (turn % 90 > 60)
        for rule, mix in MIXES.items():
            counts = {k: round(n * wave * rng.uniform(0.6, 1.3)) for k, n in mix.items()}
            upstream, added = rng.lognormvariate(-3.6, 0.5), rng.lognormvariate(-6.6, 0.5)
            metrics.upstream_call(rule, "batch", "accepted", upstream)
            if counts.get("rejected"):
                metrics.upstream_call(rule, "isolation", "rejected", upstream)
            metrics.batch(
                replace(
                    REPORT,
                    rule=rule,
                    outcomes=counts,
                    seconds=upstream + added,
                    upstream_seconds=upstream,
                )
            )
        for would, n in (("new", 60), ("replayed", 30), ("mismatch", 2)):
            metrics.shadow("messages", would, round(n * wave * rng.uniform(0.6, 1.3)))
        metrics.store_call("claim", 0.001, ok=True)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    made = Office(tmp_path)
    made.file.write_text(ALL)
    made.reloader.load()
    await made.furnish()
    made.metrics.doubt("orders", "d", "r", 0)
    traffic = Traffic(made)
    yield made
    traffic.task.cancel()


@pytest.fixture
async def url(office: Office) -> AsyncIterator[str]:
    server = TestServer(office.admin.app())
    await server.start_server()
    yield str(server.make_url("/"))
    await server.close()


def wait(driver: Driver, condition: Callable[[Driver], T], seconds: float = 20) -> T:
    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(condition)


def text(driver: Driver, selector: str) -> str:
    return driver.find_element(By.CSS_SELECTOR, selector).text


def clean(driver: Driver) -> None:
    """No script error, nothing that the policy had to stop, nothing loaded from elsewhere."""
    assert driver.execute_script("return window.problems") == []
    loaded = driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => new URL(e.name))"
        ".filter(u => u.protocol !== 'data:' && u.host !== location.host).map(String)"
    )
    assert loaded == []


def shoot(driver: Driver, name: str) -> None:
    """The whole page, not only what fits the window."""
    ARTIFACTS.mkdir(exist_ok=True)
    high = driver.execute_script("return document.documentElement.scrollHeight")
    width = driver.execute_script("return window.innerWidth")
    driver.set_window_size(width, max(high + 150, 400))
    assert driver.save_screenshot(str(ARTIFACTS / f"console-{name}.png"))


def filled(driver: Driver) -> bool:
    """The charts have ten minutes."""
    bars = driver.execute_script("return cards.size && [...cards.values()][0].bins.length")
    return bool(bars >= 55)


def look_up(driver: Driver, rule: str, scope: list[str], keys: str, token: str) -> None:
    wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "#rule option"))
    Select(driver.find_element(By.ID, "rule")).select_by_visible_text(rule)
    for number, value in enumerate(scope):
        field = driver.find_element(By.ID, f"scope-{number}")
        field.clear()
        field.send_keys(value)
    for name, value in (("token", token), ("keys", keys)):
        field = driver.find_element(By.ID, name)
        field.clear()
        field.send_keys(value)
    driver.find_element(By.CSS_SELECTOR, "#look button[type=submit]").click()


async def test_it_shows_a_busy_proxy(driver: Driver, url: str) -> None:
    def steps() -> None:
        driver.get(url)
        wait(driver, filled, 60)
        names = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".rule h2")]
        assert names == ["orders", "transfers", "messages", "archive"]
        modes = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".rule .badge")]
        assert modes == ["enforce", "enforce 50%, rest off", "shadow", "off"]
        assert text(driver, "#ready") == "ready"
        assert text(driver, "#store") == "memory store up"
        tiles = text(driver, "#tiles")
        assert "Answered from store" in tiles
        assert "Doubtful items\n1" in tiles
        label = driver.find_element(By.CSS_SELECTOR, ".rule svg").get_attribute("aria-label")
        assert label is not None
        assert "new 7" in label
        assert "replayed 2" in label
        assert len(driver.find_elements(By.CSS_SELECTOR, ".rule:first-child rect")) > 200
        driver.execute_script("document.querySelector('#pause').click()")
        shoot(driver, "light")
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        )
        wait(driver, lambda d: d.find_element(By.TAG_NAME, "html").get_attribute("data-theme"))
        shoot(driver, "dark")
        theme = driver.execute_script("return document.documentElement.dataset.theme")
        assert theme == "dark"
        clean(driver)

    await asyncio.to_thread(steps)


async def test_it_fits_a_phone(driver: Driver, url: str) -> None:
    def steps() -> None:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True},
        )
        driver.get(url)
        wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".rule:first-child rect"))
        wide = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide == 0
        assert driver.save_screenshot(str(ARTIFACTS / "console-phone.png"))
        clean(driver)

    ARTIFACTS.mkdir(exist_ok=True)
    await asyncio.to_thread(steps)


async def test_keys_are_looked_up(driver: Driver, url: str) -> None:
    def steps() -> None:
        driver.get(url)
        look_up(driver, "orders", ["a"], "done\ndoubt\nheld\nnowhere", "wrong")
        wait(driver, lambda d: "bearer token" in text(d, "#problem"))
        look_up(driver, "orders", ["a"], "done\ndoubt\nheld\nnowhere", TOKEN.decode())
        wait(driver, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#found tbody tr")) == 4)
        rows = [e.text for e in driver.find_elements(By.CSS_SELECTOR, "#found tbody tr")]
        assert '{"id":9007199254740993,  "n":1.0}' in rows[0].replace("\n", " ")
        assert "doubt" in rows[1]
        assert "held" in rows[2]
        assert "absent" in rows[3]
        assert text(driver, "#problem") == ""
        shoot(driver, "lookup")
        driver.find_element(By.ID, "doubts").click()
        wait(driver, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#found tbody tr")) == 1)
        look_up(driver, "transfers", [], '["NL91", 7]', TOKEN.decode())
        wait(driver, lambda d: '["NL91",7]' in text(d, "#found"))
        stored = driver.execute_script("return localStorage.length + document.cookie.length")
        assert stored == 0, "the token stays in the page"
        clean(driver)

    await asyncio.to_thread(steps)


async def test_it_is_used_by_keyboard_alone(driver: Driver, url: str) -> None:
    def steps() -> None:
        driver.get(url)
        wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "#rule option"))
        seen: list[str] = []
        for _ in range(40):
            driver.switch_to.active_element.send_keys(Keys.TAB)
            focused = driver.switch_to.active_element
            seen.append(focused.get_attribute("id") or focused.tag_name)
            shown = driver.execute_script(
                "const s = getComputedStyle(arguments[0]); return s.outlineStyle", focused
            )
            if seen[-1] != "body":
                assert shown != "none", f"no focus to be seen on {seen[-1]}"
            if seen[-1] == "token":
                focused.send_keys(TOKEN.decode())
            if seen[-1] == "scope-0":
                focused.send_keys("a")
            if seen[-1] == "keys":
                focused.send_keys("done", Keys.TAB, Keys.ENTER)
                break
        assert {"pause", "theme", "summary", "token", "rule", "scope-0"} <= set(seen)
        wait(driver, lambda d: "2026-09-21T14:13:20.000Z" in text(d, "#found"))
        assert driver.switch_to.active_element.get_attribute("id") == "found"

    await asyncio.to_thread(steps)


UNNAMED = """
const name = e => e.getAttribute("aria-label") || e.labels?.[0]?.textContent
  || e.textContent.trim()
  || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent || "";
const all = "button, input, select, textarea, [role=img], section, summary, [tabindex='0']";
return [...document.querySelectorAll(all)]
  .filter(e => e.getClientRects().length && !name(e).trim()).map(e => e.outerHTML.slice(0, 80));
"""
CONTRAST = """
const lum = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255)
  .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!c.startsWith("rgba") ) return c; } return "rgb(255, 255, 255)"; };
const low = [];
for (const e of document.querySelectorAll("body *")) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  if (!e.getClientRects().length || e.closest(".hidden, script, style")) continue;
  const s = getComputedStyle(e), svg = e instanceof SVGElement;
  const [a, b] = [lum(svg ? s.fill : s.color), lum(back(e))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
}
return low;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_screen_reader_and_weak_eyes_find_their_way(
    driver: Driver, url: str, scheme: str
) -> None:
    def steps() -> None:
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        driver.get(url)
        wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".rule:first-child rect"))
        assert driver.execute_script(UNNAMED) == []
        assert driver.execute_script(CONTRAST) == []
        levels: Any = driver.execute_script(
            "return [...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        driver.find_element(By.CSS_SELECTOR, ".rule summary").click()
        wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".rule tbody th[scope=row]"))

    await asyncio.to_thread(steps)


async def test_trouble_is_said_aloud_once(driver: Driver, office: Office, url: str) -> None:
    await asyncio.to_thread(driver.get, url)
    await asyncio.to_thread(wait, driver, lambda d: text(d, "#ready") == "ready")
    office.file.write_text(ALL.replace("mode: enforce", "mode: enforced"))
    await office.reloader.check(at_once=True)
    await asyncio.to_thread(wait, driver, lambda d: "were refused" in text(d, "#notice"))
    await asyncio.to_thread(wait, driver, lambda d: "were refused" in said(d))
    shot = "return document.querySelector('#notice li').textContent"
    assert "mode" in await asyncio.to_thread(driver.execute_script, shot)
    office.file.write_text(ALL)
    await office.reloader.check(at_once=True)
    await asyncio.to_thread(wait, driver, lambda d: "well again" in said(d))
    office.lifecycle.stop()
    await asyncio.to_thread(wait, driver, lambda d: text(d, "#ready") == "draining")
    await asyncio.to_thread(clean, driver)


def said(driver: Driver) -> str:
    return driver.find_element(By.ID, "said").get_attribute("textContent") or ""
