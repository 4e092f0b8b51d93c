"""The dashboard's page in Chromium: what a person sees, does, and can do without a mouse, without sight or JavaScript.

``nox -s browser`` runs these. Where SCREENSHOTS names a folder, pictures of the page are left there; those in the
documents are made by ``SCREENSHOTS=docs/images nox -s browser -- -k documents``.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from children import PYTHON, Child

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.needs("starlette", "prometheus_client", "uvicorn")]

APP = Path(__file__).parent / "support" / "browser_app.py"
SAMPLE = Path(__file__).parent.parent / "samples" / "50_dashboard.py"
ON_PORT = """
import runpy, sys
from hostkit.ext.dashboard import Dashboard
Dashboard.__init__.__kwdefaults__["port"] = int(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script as ``python script.py`` would, but with another port for its page than 9000, which may be taken."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOKEN = "a-token-of-32-characters-or-so.."  # noqa: S105  # for tests
LONG = "reconcile-outstanding-invoices-with-the-accounting-system-of-the-northern-subsidiary-and-notify-the-controllers"
FOLDER = os.environ.get("SCREENSHOTS")
PATIENCE = 30_000
LARGEST_PICTURE = 200_000
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class App:
    """The host under test, in a process of its own, which may be killed and come back."""

    def __init__(self, folder: Path, *arguments: str, token: str = "", sample: Path | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        script: list[str | Path] = [APP, str(self.port)] if sample is None else ["-c", ON_PORT, str(self.port), sample]
        self._command = [*PYTHON, *script, *arguments]
        self._env = {"HOSTKIT_DASHBOARD_TOKEN": token} if token else {}
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the process, and wait until the host has started."""
        self.child = Child(*self._command, cwd=self._folder, env=self._env)
        assert self.child.wait_for(lambda line: "| started " in line), self.child.text

    def end(self) -> None:
        """End the process."""
        self.child.__exit__(None, None, None)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A host in trouble."""
    found = App(tmp_path, "trouble")
    yield found
    found.end()


@pytest.fixture
def quiet_app(tmp_path: Path) -> Iterator[App]:
    """A host that is well."""
    found = App(tmp_path, "quiet")
    yield found
    found.end()


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[App]:
    """The sample, as its reader starts it."""
    found = App(tmp_path, sample=SAMPLE)
    yield found
    found.end()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, as the system has it."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.fail("these tests need Chromium: apt-get install chromium, or your system's way", pytrace=False)
    with sync_playwright() as playwright:
        # In a container, root has no sandbox to put it into.
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Open]:
    """Opens a page, and fails the test when it says something on the console, asks another site, or shows an alert."""
    contexts, complaints = [], []

    def open_one(url: str, *, width: int = 1280, scheme: str = "light", javascript: bool = True) -> "Page":
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=javascript,
            reduced_motion="reduce",
            timezone_id="Europe/Istanbul",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        origin = url.rstrip("/")
        page.on("request", lambda request: None if ours(request.url, origin) else complaints.append(request.url))
        page.goto(url)
        return page

    yield open_one
    said = list(complaints)  # what is under way when it is closed may say something too
    for context in contexts:
        context.close()
    expected = re.compile("console: Failed to load resource|console: .*ERR_(CONNECTION|INCOMPLETE)")
    unexpected = [complaint for complaint in said if not expected.match(complaint)]
    assert not unexpected, unexpected
    lost = [complaint for complaint in said if expected.match(complaint)]
    assert not lost or getattr(open_one, "loses_connection", False), lost


def ours(url: str, origin: str) -> bool:
    """Return whether a request goes to the page's own server, or nowhere."""
    return url.startswith((f"{origin}/", "data:"))


def picture(page: "Page", name: str) -> bytes:
    """Return a picture of the page, and leave it where pictures are wanted."""
    taken = page.screenshot(full_page=True)
    if FOLDER:
        Path(FOLDER).joinpath(f"{name}.png").write_bytes(taken)
    return taken


def check_accessibility(page: "Page") -> None:
    """Let axe-core look at the page."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    found = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
    violations = {
        violation["id"]: [node["html"][:200] for node in violation["nodes"]][:3] for violation in found["violations"]
    }
    assert len(found["passes"]) > 15
    assert violations == {}, json.dumps(violations, indent=2)


def row(page: "Page", section: str, name: str) -> str:
    """Open a row, and return what selects what it opens to."""
    toggle = page.locator(f"#{section} button.open", has=page.locator(f'.name:text-is("{name}")'))
    if toggle.get_attribute("aria-expanded") == "false":
        toggle.click()
    more = toggle.get_attribute("aria-controls")
    page.locator(f'[id="{more}"] .log, [id="{more}"] .soft').first.wait_for()
    return f'[id="{more}"]'


def heading(page: "Page", words: str) -> None:
    """Wait for the verdict."""
    page.locator(".verdict > p, .stop > p", has_text=words).first.wait_for()


class TestLook:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_of_trouble(self, app: App, open_page: Open, scheme: str) -> None:
        """At every width, what is wrong stands at the top, nothing is cut off, and axe-core has nothing to say."""
        for width in (1600, 1280, 390):
            page = open_page(app.url, width=width, scheme=scheme)
            heading(page, "things are wrong")
            page.locator(".problems >> text=is stalled").wait_for()
            row(page, "services", "gone")
            row(page, "schedules", LONG)
            row(page, "queues", "payments")
            row(page, "durable", "durable")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("h1").inner_text() == "orders-worker"
            if width != 1280:  # it is laid out like at 1600
                check_accessibility(page)
            picture(page, f"trouble-{scheme}-{width}")

    def test_of_a_host_that_is_well(self, quiet_app: App, open_page: Open) -> None:
        """One line says so; what is empty says what belongs there."""
        page = open_page(quiet_app.url)
        heading(page, "All is well")
        calm = page.locator(".verdict .soft").inner_text()
        page.evaluate("document.documentElement.style.zoom = 2")
        check_accessibility(page)
        picture(page, "well")

        assert re.match(r"5 services run\. Next: notify-0 in [45] min\. Nothing has failed since the start", calm)
        assert page.title() == "orders-worker: running"

    def test_of_a_host_with_one_service(self, tmp_path: Path, open_page: Open) -> None:
        """What it has is shown, and what it has not is said in a line each."""
        app = App(tmp_path, "single")
        try:
            for scheme, width in itertools.product(("light", "dark"), (1600, 1280, 390)):
                page = open_page(app.url, width=width, scheme=scheme)
                heading(page, "All is well")
                calm = page.locator(".verdict .soft").inner_text()
                empty = page.locator(".empty").all_inner_texts()
                picture(page, f"single-{scheme}-{width}")

                assert re.match(r"2 services run\. Nothing has failed since the start", calm)
                assert [text.partition(".")[0] for text in empty] == ["No schedules", "No queues"]
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            check_accessibility(page)
        finally:
            app.end()

    @pytest.mark.parametrize(("name", "scheme", "width"), [("page-light", "light", 1040), ("page-dark", "dark", 390)])
    def test_of_the_documents(self, tmp_path: Path, open_page: Open, name: str, scheme: str, width: int) -> None:
        """The pictures in the documents show a service that restarts, and jobs that failed."""
        app = App(tmp_path, "orders")
        try:
            page = open_page(app.url, width=width, scheme=scheme)
            page.locator(".problems >> text=has 2 failed jobs").wait_for()
            app.child.send(signal.SIGUSR2)
            heading(page, "2 things are wrong")
            taken = picture(page, name)
        finally:
            app.end()

        assert len(taken) < LARGEST_PICTURE

    def test_the_title_and_the_icon_say_it_too(self, app: App, open_page: Open) -> None:
        """Among many tabs, the one that is not well can be found."""
        page = open_page(app.url)
        heading(page, "things are wrong")

        assert re.fullmatch(r"\(\d\) orders-worker: not well", page.title())
        assert "%23b3211a" in (page.locator("link[rel=icon]").get_attribute("href") or "")

    def test_names_are_never_markup(self, app: App, open_page: Open) -> None:
        """A job's name that is a script is its name; characters that turn the direction are shown by number."""
        page = open_page(app.url)
        heading(page, "things are wrong")
        name = page.locator("#schedules .name", has_text="alert").first.inner_text()
        page.locator("#schedules button.open", has_text="alert").first.click()
        page.locator("#schedules tr.more").wait_for()

        assert name == "<script>alert(1)</script>\\u202egnp.exe"
        assert page.locator("#page script").count() == 0

    def test_a_long_error_unfolds(self, app: App, open_page: Open) -> None:
        """Three lines of it, and on a click what the server has of it."""
        page = open_page(app.url)
        more = row(page, "queues", "payments")
        fold = page.locator(f"{more} .fold").first
        fold.click()
        text = page.locator(f"{more} .text").first.inner_text()

        assert "more" in text
        assert fold.inner_text() == "show less"

    def test_without_javascript(self, app: App, open_page: Open) -> None:
        """The browser is led to the same as plain text."""
        page = open_page(app.url, javascript=False)
        page.wait_for_url("**/status.txt")
        page.locator("pre", has_text="gone has failed").wait_for()  # it asks again by itself
        text = page.locator("body").inner_text()

        assert text.startswith("orders-worker (production): started, ready, ")
        assert "[bad] gone has failed. LookupError: no such table: orders" in text


class TestSample:
    def test_look(self, sample: App, open_page: Open) -> None:
        """In light and dark, at every width: the failed job stands at the top, and axe-core has nothing to say."""
        for scheme, width in itertools.product(("light", "dark"), (1600, 1280, 390)):
            page = open_page(sample.url, width=width, scheme=scheme)
            problem = page.locator(".problems li", has_text=re.compile(r"payments has \d failed job"))
            problem.wait_for(timeout=2 * PATIENCE)
            check_accessibility(page)
            picture(page, f"sample-{scheme}-{width}")

            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert "TimeoutError" in problem.inner_text()

    def test_all_that_can_be_done(self, sample: App, open_page: Open) -> None:
        """Requeue, pause, resume, restart, run now; and the stop, which waits for the run that has begun."""
        page = open_page(sample.url)
        open_page.loses_connection = True  # type: ignore[attr-defined]  # at the end
        row(page, "queues", "payments")
        page.get_by_role("button", name=re.compile(r"Requeue job \d+ charge")).first.click(timeout=2 * PATIENCE)
        page.locator("#say", has_text=re.compile(r"Job \d+ is back in payments\.")).wait_for()
        more = row(page, "schedules", "find-orders")
        page.click(f"{more} >> text=Pause")
        page.locator("#schedules tr", has_text="find-orders").locator("text=paused").first.wait_for()
        page.click(f"{more} >> text=Resume")
        page.locator("#say", has_text="find-orders goes on.").wait_for()
        more = row(page, "services", "rates")
        page.click(f"{more} >> text=Restart")
        page.click("dialog >> text=Do it")
        page.locator("#say", has_text="rates was restarted.").wait_for()
        page.locator(f"{more} .log >> text=2 times since").first.wait_for()
        page.locator(".problems button", has_text="Requeue").click(timeout=2 * PATIENCE)
        page.locator("#say", has_text=re.compile(r"jobs? (is|are) back in payments\.")).wait_for()
        more = row(page, "schedules", "nightly-report")
        page.click(f"{more} >> text=Run now")
        page.locator("#say", has_text="Run of nightly-report began.").wait_for()
        sample.child.send(signal.SIGTERM)
        heading(page, "Stopping: signal SIGTERM")
        page.locator(".stop li", has_text=re.compile("scheduler .* waits for nightly-report")).wait_for()
        picture(page, "sample-stopping")
        page.locator("#lost", has_text="The host has ended (signal SIGTERM, exit code 0).").wait_for()

        assert sample.child.end() == 0


class TestActions:
    def test_run_now_pause_and_resume(self, quiet_app: App, open_page: Open) -> None:
        """A schedule is run now, paused and resumed, and the page says what was done."""
        page = open_page(quiet_app.url)
        more = row(page, "schedules", "cleanup")
        page.click(f"{more} >> text=Run now")
        page.locator("#say", has_text="Run of cleanup began.").wait_for()
        page.locator(f"{more} .log >> text=succeeded").wait_for()
        page.click(f"{more} >> text=Pause")
        page.locator("#say", has_text="cleanup is paused.").wait_for()
        page.locator("#schedules tr", has_text="cleanup").locator("text=paused").wait_for()
        page.click(f"{more} >> text=Resume")
        page.locator("#say", has_text="cleanup goes on.").wait_for()
        page.locator(f"{more} >> text=Pause").wait_for()

    def test_pause_all_jobs(self, quiet_app: App, open_page: Open) -> None:
        """Each of them is paused, and none is one that never runs."""
        page = open_page(quiet_app.url)
        more = row(page, "services", "scheduler")
        page.click(f"{more} >> text=Pause all jobs")
        page.locator("#say", has_text="scheduler is paused.").wait_for()
        page.locator("#services tr", has_text="scheduler").locator("text=paused").first.wait_for()
        upcoming = page.locator("#schedules tr.row td:nth-child(3)").all_inner_texts()

        assert [text.strip() for text in upcoming] == ["paused"] * 21

    def test_requeue_one_and_all(self, app: App, open_page: Open) -> None:
        """Failed jobs are run again: one from its line, all from the problem."""
        page = open_page(app.url)
        more = row(page, "queues", "payments")
        page.locator(f"{more} >> text=Requeue all 3").wait_for()
        page.get_by_role("button", name="Requeue job 1 charge").click()
        page.locator("#say", has_text="Job 1 is back in payments.").wait_for()
        page.get_by_role("button", name="Requeue job 6 charge").wait_for()  # it has failed again, as a new job
        page.get_by_role("button", name="Requeue all 3: payments").click()
        page.locator("#say", has_text="3 jobs are back in payments.").wait_for()

    def test_cancel_asks_first(self, app: App, open_page: Open) -> None:
        """What cannot be undone is asked about, and the safe answer has the focus."""
        page = open_page(app.url)
        row(page, "queues", "payments")
        button = page.get_by_role("button", name="Cancel job 4 invoice")
        button.click()
        page.locator("dialog[open]").wait_for()
        check_accessibility(page)
        picture(page, "dialog")
        focused = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Escape")
        page.locator("dialog:not([open])").wait_for(state="attached")
        back = page.evaluate("document.activeElement.getAttribute('aria-label')")
        button.click()
        page.click("dialog >> text=Do it")
        page.locator("#say", has_text="Job 4 is cancelled.").wait_for()

        assert focused == "Leave it"
        assert back == "Cancel job 4 invoice"

    def test_restart_of_a_service(self, app: App, open_page: Open) -> None:
        """A service that has failed runs again, and is a problem no more."""
        page = open_page(app.url)
        page.get_by_role("button", name="Restart: gone").click()
        page.click("dialog >> text=Do it")
        page.locator("#say", has_text="gone was restarted.").wait_for()
        more = row(page, "services", "gone")
        page.locator(f"{more} .log >> text=2 times since").first.wait_for()

    def test_durable_jobs(self, app: App, open_page: Open) -> None:
        """How long they wait is shown; one that failed is retried, the others too, and then there is none."""
        page = open_page(app.url)
        row(page, "durable", "durable")
        page.locator("#durable tr.row", has_text="1 min").wait_for()
        page.get_by_role("button", name="Retry job 90411 welcome").click()
        page.locator("#say", has_text="Job 90411 is back in its queue.").wait_for()
        page.get_by_role("button", name="Retry all: durable").click()
        page.locator("#say", has_text="1 job is back in durable.").wait_for()

    def test_delete_of_a_durable_job(self, app: App, open_page: Open) -> None:
        """It asks first."""
        page = open_page(app.url)
        row(page, "durable", "durable")
        page.get_by_role("button", name="Delete job 90412 welcome").click()
        page.click("dialog >> text=Do it")
        page.locator("#say", has_text="Job 90412 is deleted.").wait_for()
        page.locator(".problems li", has_text="durable has 1 failed job").wait_for()


class TestLive:
    def test_a_crash(self, quiet_app: App, open_page: Open, figure: Callable[[str], None]) -> None:
        """What has crashed is on the page at once, and told to those who do not see it."""
        page = open_page(quiet_app.url)
        heading(page, "All is well")
        page.evaluate(
            "new MutationObserver((changes, observer) => { if (document.querySelector('.problems')) {"
            " window.seenAt = Date.now(); observer.disconnect(); } })"
            ".observe(document.getElementById('page'), { childList: true, subtree: true })"
        )
        quiet_app.child.send(signal.SIGUSR2)
        heading(page, "1 thing is wrong")
        text = page.locator(".problems li").inner_text()
        facts = page.locator("header .facts").inner_text()
        since = page.locator(".problems time").get_attribute("datetime")
        late = page.evaluate("since => window.seenAt - Date.parse(since)", since)
        figure(f"on the page {late:.0f} ms after the crash")
        picture(page, "crash")

        assert "rates failed and restarts in" in text
        assert "ConnectionRefusedError: [Errno 111]" in text
        assert "not ready" in facts
        assert page.locator("#news").inner_text() == "1 thing is wrong"

    def test_a_redraw_keeps_what_a_person_does(self, quiet_app: App, open_page: Open) -> None:
        """Focus, open rows and the filter stay through changes."""
        page = open_page(quiet_app.url)
        heading(page, "All is well")
        row(page, "services", "rates")
        page.keyboard.press("/")
        page.keyboard.type("notify-1")
        page.locator("#schedules tr.row").nth(10).wait_for()
        quiet_app.child.send(signal.SIGUSR2)
        heading(page, "1 thing is wrong")
        page.locator('#services .log >> text="failed"').wait_for()

        assert page.evaluate("document.activeElement.value") == "notify-1"
        assert page.locator("#schedules tr.row").count() == 11
        assert "11 of 21 jobs" in page.locator("#schedules .title").inner_text()

    def test_a_stop(self, quiet_app: App, open_page: Open) -> None:
        """It is shown as it happens: why, how far, who is waited for, and how it ended."""
        page = open_page(quiet_app.url, scheme="dark")
        open_page.loses_connection = True  # type: ignore[attr-defined]
        heading(page, "All is well")
        quiet_app.child.send(signal.SIGTERM)
        heading(page, "Stopping: signal SIGTERM")
        page.locator(".stop li", has_text=LONG).locator("text=browser_app.py").wait_for()
        page.locator(".stop >> text=/0 of 5 services have stopped/").wait_for()
        picture(page, "stopping")
        check_accessibility(page)
        page.locator("#lost", has_text="The host has ended (signal SIGTERM, exit code 0).").wait_for()
        check_accessibility(page)
        picture(page, "ended")
        facts = page.locator("header .facts").inner_text()
        states = page.locator("#services tr.row td:nth-child(2)").all_inner_texts()

        assert quiet_app.child.end() == 0
        assert re.match(r"\s*stopped at \d\d:\d\d:\d\d\s", facts)
        assert all(re.fullmatch(r"\s*stopped at \d\d:\d\d:\d\d\s*", state) for state in states), states
        assert page.locator("button.do:visible").count() == 0

    def test_a_stop_that_is_announced(self, tmp_path: Path, open_page: Open) -> None:
        """It stands above what is wrong, and is told to those who do not see it, once and not every second."""
        app = App(tmp_path, "trouble", "600")
        try:
            page = open_page(app.url)
            heading(page, "things are wrong")
            page.evaluate(
                "window.told = []; new MutationObserver(() => window.told.push(document.getElementById('news')"
                ".textContent)).observe(document.getElementById('news'), { childList: true })"
            )
            app.child.send(signal.SIGTERM)
            heading(page, "Stops in 9 min: signal SIGTERM")
            page.locator(".verdict >> text=things are wrong").wait_for()
            picture(page, "announced")
            check_accessibility(page)
            told = page.evaluate("window.told.filter(text => text.startsWith('Stops'))")

            assert told
            assert all(re.match(r"Stops soon: signal SIGTERM\. \d things are wrong", text) for text in told)
            assert len(told) == len(set(told))
            assert re.fullmatch(r"\(\d\) orders-worker: stops soon", page.title())
        finally:
            app.end()

    def test_stop_from_the_page(self, quiet_app: App, open_page: Open) -> None:
        """The button asks first; the reason of the stop tells where it came from."""
        page = open_page(quiet_app.url)
        open_page.loses_connection = True  # type: ignore[attr-defined]
        page.click("text=Stop host")
        page.click("dialog >> text=Do it")
        heading(page, "Stopping: asked for on the page by 127.0.0.1")

        assert quiet_app.child.end() == 0

    def test_lost_and_back(self, quiet_app: App, open_page: Open) -> None:
        """A connection that is gone is told, with the age of what is seen; when it is back, all goes on."""
        page = open_page(quiet_app.url)
        open_page.loses_connection = True  # type: ignore[attr-defined]
        heading(page, "All is well")
        quiet_app.end()
        page.locator("#lost", has_text="Connection lost").wait_for()
        disabled = page.locator("button.do:disabled").count()
        check_accessibility(page)
        picture(page, "lost")
        text = page.locator("#lost").inner_text()
        shown = page.locator("main").inner_text()
        page.locator("#lost", has_not_text=text[: text.index(".")]).wait_for()
        still_shown = page.locator("main").inner_text()
        quiet_app.start()
        page.locator("#live", has_text=" live").wait_for()
        page.locator("#lost").wait_for(state="hidden")
        enabled = page.locator("button.do:enabled").count()

        assert re.match(r"Connection lost \d+ s ago\. What you see is of \d\d:\d\d:\d\d\. Trying again in \d s\.", text)
        assert still_shown == shown
        assert disabled > 0
        assert enabled > 0


class TestKeyboard:
    def test_all_of_it(self, app: App, open_page: Open) -> None:
        """From the first key: skip, open a row, act, answer a question, filter."""
        page = open_page(app.url)
        heading(page, "things are wrong")
        page.keyboard.press("Tab")
        skip = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        first = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Enter")
        page.locator("#services tr.more").wait_for()
        expanded = page.evaluate("document.activeElement.getAttribute('aria-expanded')")
        page.keyboard.press("Tab")
        acts = page.evaluate("document.activeElement.getAttribute('aria-label')")
        page.keyboard.press("Space")
        page.locator("dialog[open]").wait_for()
        page.keyboard.press("Enter")
        page.locator("dialog:not([open])").wait_for(state="attached")
        page.keyboard.press("/")
        box = page.evaluate("document.activeElement.getAttribute('aria-label')")

        assert skip == "Skip to services"
        assert (first, expanded) == ("payments", "true")
        assert acts == "Restart service payments"
        assert box == "Filter schedules by name"

    def test_the_focus_stays_with_its_problem(self, app: App, open_page: Open) -> None:
        """When one above is gone, and through an action; when its own is gone, it is not lost either."""
        page = open_page(app.url)
        page.locator(".problems li", has_text="gone has failed").wait_for()
        more = row(page, "services", "gone")
        page.get_by_role("button", name="Retry all: durable").focus()
        page.evaluate(
            "fetch('actions/restart', { method: 'POST', headers: { 'Content-Type': 'application/json' },"
            " body: JSON.stringify({ kind: 'service', name: 'gone' }) })"
        )
        page.locator(f"{more} .log >> text=2 times since").first.wait_for()
        kept = page.evaluate("document.activeElement.getAttribute('aria-label')")
        page.keyboard.press("Enter")
        page.locator("#say", has_text="2 jobs are back in durable.").wait_for()
        page.locator(".problems li", has_text="durable").wait_for(state="detached")
        after = page.evaluate("document.activeElement.tagName")

        assert kept == "Retry all: durable"
        assert after != "BODY"

    def test_a_problem_leads_to_its_row(self, app: App, open_page: Open) -> None:
        """The link opens the row, and puts the focus there."""
        page = open_page(app.url)
        page.locator(".problems a", has_text="gone").focus()
        page.keyboard.press("Enter")
        page.locator('#services tr.more .log >> text="failed"').wait_for()

        assert page.evaluate("document.activeElement.textContent") == "gone"
        assert page.url == app.url

    def test_a_problem_leads_to_a_row_that_the_filter_hides(self, app: App, open_page: Open) -> None:
        """The filter is cleared."""
        page = open_page(app.url)
        page.locator(".problems a", has_text=LONG).wait_for()
        page.keyboard.press("/")
        page.keyboard.type("cleanup")
        page.locator("#schedules tr.row", has_text=LONG).wait_for(state="detached")
        page.locator(".problems a", has_text=LONG).click()
        page.locator('#schedules tr.more .log >> text="failed"').wait_for()

        assert page.evaluate("document.activeElement.textContent") == LONG
        assert page.locator("#schedules-filter").input_value() == ""


class TestSignIn:
    def test_with_a_token(self, tmp_path: Path, open_page: Open) -> None:
        """A wrong token is told, the right one leads to the page, signing out leads back."""
        app = App(tmp_path, "quiet", token=TOKEN)
        try:
            page = open_page(app.url)
            open_page.loses_connection = True  # type: ignore[attr-defined]  # the console shows the 401
            check_accessibility(page)
            picture(page, "sign-in")
            page.fill("#token", "wrong")
            page.keyboard.press("Enter")
            page.locator("#wrong", has_text="That is not the token.").wait_for()
            page.fill("#token", TOKEN)
            page.keyboard.press("Enter")
            heading(page, "All is well")
            page.click("text=Sign out")
            page.locator("form.signin").wait_for()
        finally:
            app.end()
