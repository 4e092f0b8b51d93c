"""The dashboard's paths: the page, the snapshot, what rows open to, signing in, and the service that serves them."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from asgi_client import Client
from children import PYTHON, Child
from dashboard_host import TOKEN, Worker, fail, forever, noon, nothing, scene
from puppet import QUIET, Puppet

from hostkit import EndAction, Host, HostBuilder, HostFailedError, HostOptions, HostState, Restart, StoppingToken
from hostkit.ext.asgi import Message
from hostkit.ext.dashboard import dashboard_app
from hostkit.jobs import JobQueue, Retry
from hostkit.scheduling import Daily, Every, Scheduler

pytestmark = pytest.mark.needs("starlette", "prometheus_client")

SCHEMA = json.loads(Path(__file__).parent.parent.joinpath("docs", "status.schema.json").read_text(encoding="utf-8"))
PAGE = Path(__file__).parent.parent.joinpath("hostkit", "ext", "dashboard", "page.html").read_text(encoding="utf-8")


def check_schema(status: dict[str, Any]) -> None:
    """Compare a snapshot with its schema, which allows no field that it does not know here."""
    import jsonschema

    jsonschema.validate(status, strict(SCHEMA), cls=jsonschema.Draft202012Validator)


def strict(schema: Any) -> Any:  # noqa: ANN401  # JSON
    """Return *schema* without room for further fields, so that each one is told in it."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {name: strict(each) for name, each in schema.items()} | closed


class TestStatus:
    async def test_before_the_host_is_built(self) -> None:
        """An app that was mounted early says that there is nothing yet."""
        answer = await Client(dashboard_app(HostBuilder(QUIET))).get("/status.json")

        assert answer.status == 503
        assert answer.json() == {"error": "the host has not been built yet"}

    async def test_of_a_host_that_was_not_started(self) -> None:
        """Everything is there, and in its first state."""
        builder = HostBuilder(HostOptions(application_name="orders", log_level="CRITICAL"))
        builder.add_service(Worker(), name="worker")
        builder.add_service(JobQueue(), name="mail")
        scheduler = builder.add_service(Scheduler(), name="scheduler")
        scheduler.add(nothing, Daily("03:00", tz="Europe/Istanbul"), name="report")
        status = (await Client(dashboard_app(builder.build())).get("/status.json")).json()

        check_schema(status)
        assert status["host"]["state"] == "created"
        assert status["host"]["application_name"] == "orders"
        assert [row["state"] for row in status["services"]] == ["created"] * 3
        assert status["schedules"][0]["rule"] == "every day at 03:00"
        assert status["schedules"][0]["zone"] == "Europe/Istanbul"
        assert status["schedules"][0]["next_run"].endswith("03:00:00.000+03:00")
        assert status["problems"] == []

    async def test_of_a_host_that_runs(self) -> None:
        """Services, schedules and queues, with what each is doing."""

        def prepare(builder: HostBuilder) -> None:
            builder.add_service(Puppet(), name="last")

        async with scene(prepare) as found:
            found.worker.shown = {"rate": 2.5, "state": "open", "steps": [1, 2]}
            await found.queue.enqueue(forever)
            await anyio.sleep(10)
            status = await found.status()

        check_schema(status)
        assert status["actions"] is True
        assert status["totals"] == {"problems": 0, "services": 4, "schedules": 1, "queues": 1, "durable": 0}
        assert status["host"]["ready"]
        assert status["host"]["healthy"]
        assert [(row["name"], row["kind"], row["role"], row["step"]) for row in status["services"]] == [
            ("worker", "background", None, 0),
            ("mail", "background", "queue", 1),
            ("scheduler", "background", "scheduler", 2),
            ("last", "background", None, 3),
        ]
        assert status["services"][0]["details"] == {"rate": 2.5, "state": "open"}
        assert re.fullmatch(r"support/dashboard_host\.py:\d+ in Worker\.execute", status["services"][0]["waiting_at"])
        assert status["queues"][0]["counts"]["running"] == 1
        assert status["schedules"][0]["rule"] == "every hour"
        assert status["schedules"][0]["zone"] is None

    async def test_of_a_host_that_stops(self) -> None:
        """It tells the reason, who is waited for, and how long that may take."""
        builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=20))
        client = Client(dashboard_app(builder))
        builder.add_service(Puppet(), name="first")
        builder.add_service(Puppet(drain=5), name="orders")
        host = builder.build()

        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(host.stop, "signal SIGTERM")
            await anyio.sleep(2)
            status = (await client.get("/status.json")).json()

        check_schema(status)
        assert status["host"]["state"] == "stopping"
        assert status["host"]["stop_reason"] == "signal SIGTERM"
        assert status["host"]["waiting_for"] == ["orders"]
        assert (status["host"]["seconds_to_cancel"], status["host"]["seconds_to_abandon"]) == (18, 23)
        assert [row["state"] for row in status["services"]] == ["started", "stopping"]

    async def test_is_not_sent_twice(self) -> None:
        """Who has it already is told so; the instant alone makes no difference."""
        async with scene() as found:
            first = await found.client.get("/status.json")
            await anyio.sleep(0.3)
            second = await found.client.get("/status.json", if_none_match=first.headers["etag"])
            found.scheduler.jobs["hourly"].pause()
            await anyio.sleep(0.3)
            third = await found.client.get("/status.json", if_none_match=first.headers["etag"])

        assert (second.status, second.body) == (304, b"")
        assert third.status == 200

    async def test_holds_nothing_that_is_the_users_own(self) -> None:
        """Arguments, results, keys and values of variables are not in it, nor in what rows open to."""
        secret = "hunter2-" * 3

        async def pay(card: str) -> str:
            local = card  # noqa: F841  # it would be in a traceback with values
            if attempts.pop():
                raise RuntimeError("declined")
            return card

        attempts = [False, True]
        async with scene() as found:
            queue = found.queue.with_options(key=secret)
            await (await queue.enqueue(pay, secret)).wait()
            await (await queue.enqueue(pay, secret)).wait()
            texts = [json.dumps(await found.status()), json.dumps(await found.history(kind="queue", name="mail"))]
            texts.append((await found.client.get("/metrics")).text)

        assert not any("hunter2" in text for text in texts)
        assert "declined" in texts[1]

    async def test_of_a_queue_that_has_failed_before_the_start(self) -> None:
        """A job may be cancelled before the host has a clock; its line has no instant then."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        queue = builder.add_service(JobQueue(), name="mail")
        builder.build()
        queue.enqueue_nowait(nothing)
        history = (await client.get("/history.json?kind=queue&name=mail")).json()

        assert history["groups"][0]["items"][0]["at"] is None

    async def test_is_bounded(self) -> None:
        """Of a thousand jobs the first 500 are listed, those with a problem before all others; totals tell the rest."""

        def prepare(builder: HostBuilder) -> None:
            more = builder.add_service(Scheduler(now=noon), name="more")
            for number in range(1000):
                more.add(nothing, Every(minutes=1 + number), name=f"job {number}")
            more.add(fail, Every(hours=99), name="the last", run_at_start=True)

        async with scene(prepare) as found:
            await anyio.sleep(1)
            status = await found.status()

        check_schema(status)
        assert status["totals"]["schedules"] == 1002
        assert len(status["schedules"]) == 500
        assert [row["name"] for row in status["schedules"][:3]] == ["the last", "job 0", "job 1"]

    async def test_of_many_services(self) -> None:
        """Of a thousand services 500 are listed, first those with a problem, then the others in their start order."""

        def prepare(builder: HostBuilder) -> None:
            for number in range(1000):
                builder.add_service(Puppet(), name=f"service {number}")
            builder.add_service(Puppet(run=0.5, fails="execute"), name="the last", on_failure=EndAction.IGNORE)

        async with scene(prepare) as found:
            await anyio.sleep(1)
            status = await found.status()

        check_schema(status)
        assert status["totals"]["services"] == 1004
        assert len(status["services"]) == 500
        assert [row["name"] for row in status["services"][:3]] == ["the last", "worker", "mail"]

    async def test_names_and_errors_of_any_length_and_kind(self) -> None:
        """A megabyte of text, markup, and what has no encoding: cut, and JSON all the same."""
        name, words = "<script>alert(1)</script>" + "n" * 1_000_000, "<b>" + "e" * 1_000_000 + "\ud800\u202e"

        async with scene() as found:
            await (await found.queue.with_options(name=name).enqueue(fail, words)).wait()
            found.scheduler.add(fail, Every(hours=1), name=name).run_now()
            await anyio.sleep(1)
            answer = await found.client.get("/status.json")
            status = answer.json()
            history = await found.history(kind="queue", name="mail")
            run = await found.history(kind="schedule", name=status["schedules"][0]["name"])

        check_schema(status)
        assert answer.body.isascii()
        assert len(answer.body) < 20_000
        assert len(json.dumps(history)) < 10_000
        assert history["groups"][0]["items"][0]["text"].endswith(" more")
        assert run["groups"][0]["items"][0]["what"] == "failed"

    async def test_an_error_that_cannot_be_told(self) -> None:
        """An error whose words fail is shown by its type."""

        class MuteError(Exception):
            def __str__(self) -> str:
                raise ValueError

        async def mute() -> None:
            raise MuteError

        async with scene() as found:
            await (await found.queue.enqueue(mute)).wait()
            history = await found.history(kind="queue", name="mail")

        assert history["groups"][0]["items"][0]["text"] == "MuteError: <no words: ValueError>"


class TestHistory:
    async def test_of_a_service(self) -> None:
        """What has happened, the latest first, with repeats in one line; its policy in words."""
        async with scene(worker={"on_failure": Restart(limit=5)}) as found:
            for _ in range(3):
                found.worker.fail(OSError("no route"))
                await anyio.sleep(100)
            history = await found.history(kind="service", name="worker")

        (group,) = history["groups"]
        assert [(item["what"], item["text"], item.get("times")) for item in group["items"]] == [
            ("started", "ready after 0 ms", 4),
            ("restarting", group["items"][1]["text"], 3),
            ("failed", "OSError: no route", 3),
        ]
        assert re.fullmatch(r"support/dashboard_host\.py:\d+ in Worker\.execute", group["items"][2]["where"])
        assert history["facts"]["on failure"] == "restart, 5 times in a row at most, then stop the host"

    @pytest.mark.parametrize(
        ("policy", "words"),
        [
            (EndAction.IGNORE, "go on without it"),
            (EndAction.STOP_HOST, "stop the host"),
            (Restart(limit=None), "restart, without a limit"),
        ],
    )
    async def test_policies_in_words(self, policy: EndAction | Restart, words: str) -> None:
        """Each says what follows."""
        options = {"on_return": policy, "stop_timeout": 3, "heartbeat_timeout": 60}

        async with scene(worker=options) as found:
            facts = (await found.history(kind="service", name="worker"))["facts"]

        assert facts["on return"] == words
        assert (facts["stop timeout"], facts["heartbeat timeout"]) == ("3 s", "60 s")

    async def test_of_a_service_that_stalls_and_is_cancelled(self) -> None:
        """Stall, recovery, cancellation and abandonment each have their line."""

        def prepare(builder: HostBuilder) -> None:
            @builder.service(name="sync", heartbeat_timeout=1)
            async def sync(stopping_token: StoppingToken) -> None:
                await anyio.sleep(5)
                await stopping_token.wait()

        async with scene(prepare) as found:
            await anyio.sleep(10)
            history = await found.history(kind="service", name="sync")

        assert [item["what"] for item in history["groups"][0]["items"]] == ["recovered", "stalled", "started"]
        assert history["groups"][0]["items"][1]["where"].endswith(".sync")

    async def test_of_a_schedule(self) -> None:
        """Runs under way, then the last ones, the latest first, with errors and where they were raised."""
        async with scene() as found:
            job = found.scheduler.add(fail, Every(hours=2), name="fails", timeout=30, grace=5)
            job.run_now()
            found.scheduler.add(forever, Every(hours=3), name="long", run_at_start=True)
            found.scheduler.jobs["hourly"].pause()
            await anyio.sleep(4000)
            failed = await found.history(kind="schedule", name="fails", scheduler="scheduler")
            running = await found.history(kind="schedule", name="long")
            skipped = await found.history(kind="schedule", name="hourly")

        item = failed["groups"][0]["items"][0]
        assert (item["what"], item["text"]) == ("failed", "RuntimeError: no luck")
        assert item["where"].endswith("in fail")
        assert failed["facts"] == {
            "scheduled": "every 2 hours",
            "overlap": "skip",
            "missed": "run once",
            "grace": "5 s",
            "timeout": "30 s",
        }
        assert running["groups"][0]["title"] == "Running"
        assert skipped["groups"][0]["items"][0]["text"] == "paused"

    async def test_of_a_queue(self) -> None:
        """Failed, running, waiting and ended jobs, each with what can be done about it."""
        async with scene(queue={"concurrency": 1}) as found:
            await found.queue.enqueue(nothing)
            await found.queue.with_options(retry=Retry(attempts=2)).enqueue(fail)
            await anyio.sleep(60)
            await found.queue.with_options(retry=Retry(attempts=2)).enqueue(forever)
            await found.queue.enqueue(nothing)
            await anyio.sleep(5)
            history = await found.history(kind="queue", name="mail")

        shown = [
            (group["title"], [(item["id"], item["name"], item["text"], item["actions"]) for item in group["items"]])
            for group in history["groups"]
        ]
        assert shown == [
            ("Failed for good", [(2, "fail", "after 2 attempts: RuntimeError: no luck", ["requeue", "discard"])]),
            ("Running, the oldest first", [(3, "forever", "attempt 1 of 2", ["cancel"])]),
            ("Waiting, the next first", [(4, "nothing", "", ["cancel"])]),
            ("Ended", [(1, "nothing", "", [])]),
        ]
        assert history["facts"] == {"capacity": 10_000, "concurrency": 1}

    async def test_is_bounded(self) -> None:
        """A row opens to as many as were asked for, and two hundred at most."""
        async with scene(queue={"history": 1000}) as found:
            for _ in range(300):
                await found.queue.enqueue(fail)
            await found.queue.join()
            few = await found.history(kind="queue", name="mail", limit=7)
            many = await found.client.get("/history.json?kind=queue&name=mail&limit=201")

        assert len(few["groups"][0]["items"]) == 7
        assert (many.status, many.json()) == (400, {"error": "limit is a number from 1 to 200"})

    @pytest.mark.parametrize(
        "query",
        ["", "kind=service", "kind=service&name=missing", "kind=host&name=worker", "kind=queue&name=worker",
         "kind=schedule&name=hourly&scheduler=other", "kind=durable&name=mail"],
    )  # fmt: skip
    async def test_of_what_is_not_there(self, query: str) -> None:
        """There is nothing of that kind and name."""
        async with scene() as found:
            answer = await found.client.get(f"/history.json?{query}")

        assert answer.status == 404

    async def test_before_the_host_is_built(self) -> None:
        """Nothing has a history yet."""
        answer = await Client(dashboard_app(HostBuilder(QUIET))).get("/history.json?kind=service&name=worker")

        assert answer.status == 404

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "1e3", "", "999999999999999999999", "٣"])
    async def test_refuses_a_limit_that_is_none(self, limit: str) -> None:
        """A limit is a number."""
        async with scene() as found:
            answer = await found.client.get(f"/history.json?kind=queue&name=mail&limit={limit}")

        assert answer.status == 400


class TestPage:
    async def test_is_one_document(self) -> None:
        """The page needs no other file, and holds nothing of the host."""
        async with scene() as found:
            answer = await found.client.get("/")
            packed = await found.client.get("/", accept_encoding="gzip, br")
            again = await found.client.get("/", if_none_match=answer.headers["etag"])

        assert answer.text == PAGE
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert packed.headers["content-encoding"] == "gzip"
        assert len(packed.body) < 16_000
        assert again.status == 304

    def test_makes_no_markup_of_data(self) -> None:
        """Nothing in it turns a text into an element, an attribute into a script, or a style."""
        script = re.findall(r"<script>(.*)</script>", PAGE, re.DOTALL)[0]

        for trap in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
            assert trap not in script
        assert not re.search(r"<[a-z][^>]*\s(on\w+|style)=", PAGE)
        assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", script)
        assert not re.search(r"""(src|href)=["'](?!data:|#|status|sign-in|metrics|readyz)""", PAGE)

    async def test_without_javascript(self) -> None:
        """A browser without JavaScript is led to the same as plain text, which it asks for again every 5 s."""
        async with scene(worker={"on_failure": Restart()}) as found:
            found.worker.fail(OSError("\x1b[31mred\u202e"))
            found.scheduler.add(nothing, Every(hours=2), name="never").pause()
            found.scheduler.add(forever, Every(hours=2), name="long", run_at_start=True)
            await anyio.sleep(0.1)
            answer = await found.client.get("/status.txt")

        assert '<noscript><meta http-equiv="refresh" content="0; url=status.txt"></noscript>' in PAGE
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["refresh"] == "5"
        assert "started, ready, unhealthy" in answer.text
        assert (
            "[warn] worker failed and is about to restart, restart 1 of 5. OSError: \\u001b[31mred\\u202e"
            in answer.text
        )
        assert re.search(r"^worker +restarting +1 +", answer.text, re.MULTILINE)
        assert re.search(r"^never +every 2 hours +paused +-$", answer.text, re.MULTILINE)
        assert re.search(r"^mail( +0){7}$", answer.text, re.MULTILINE)

    async def test_plain_text_of_a_stop(self) -> None:
        """It tells why the host stops, and who is waited for."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        before = await client.get("/status.txt")
        builder.add_service(Puppet(drain=5), name="orders")
        host = builder.build()

        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(host.stop, "signal SIGTERM")
            await anyio.sleep(2)
            answer = await client.get("/status.txt")

        assert before.text == "not started\n"
        assert "\nstopping: signal SIGTERM\nwaiting for orders\n" in answer.text

    async def test_of_a_host_with_one_service(self) -> None:
        """Nothing but a service: all is there, and all is well."""
        builder = HostBuilder(QUIET)
        builder.add_service(Puppet(), name="only")
        host: Host = builder.build()

        async with host:
            status = (await Client(dashboard_app(host)).get("/status.json")).json()

        check_schema(status)
        assert status["problems"] == []
        assert status["schedules"] == status["queues"] == status["durable"] == []


class TestSignIn:
    async def test_a_person_signs_in_and_out(self) -> None:
        """The page leads to a form, the token to the page, for as long as one does not sign out."""
        async with scene(token=TOKEN) as found:
            client = found.client
            page = await client.get("/")
            form = await client.get("/sign-in")
            signed_in = await client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = signed_in.headers["set-cookie"].partition(";")[0]
            seen = await client.get("/", cookie=f"other=1; {cookie}")
            signed_out = await client.request("POST", "/sign-out", cookie=cookie)

        assert (page.status, page.headers["location"]) == (303, "sign-in")
        assert form.status == 200
        assert "<form" in form.text
        assert (signed_in.status, signed_in.headers["location"]) == (303, "./")
        assert re.fullmatch(
            r"hostkit-9000=\d+\.[0-9a-f]{64}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict",
            signed_in.headers["set-cookie"],
        )
        assert TOKEN not in signed_in.headers["set-cookie"]
        assert seen.status == 200
        assert signed_out.headers["set-cookie"].startswith("hostkit-9000=; Path=/; Max-Age=0;")

    async def test_the_form_says_what_was_wrong(self) -> None:
        """A wrong token leads back to the form, with the status of an error."""
        options = HostOptions(application_name="<b>orders</b>", log_level="CRITICAL")

        async with scene(token=TOKEN, options=options) as found:
            answer = await found.client.request("POST", "/sign-in", b"token=wrong")
            empty = await found.client.request("POST", "/sign-in", b"\xff&&=")
            many = await found.client.request("POST", "/sign-in", b"&" * 4000)

        assert answer.status == empty.status == many.status == 401
        assert "That is not the token." in answer.text
        assert "&lt;b&gt;orders&lt;/b&gt;" in answer.text
        assert "set-cookie" not in answer.headers

    async def test_without_a_token_there_is_nothing_to_sign_in_to(self) -> None:
        """The form leads to the page at once."""
        async with scene() as found:
            answer = await found.client.get("/sign-in")

        assert (answer.status, answer.headers["location"]) == (303, "./")

    @pytest.mark.parametrize(
        ("scheme", "root_path", "cookie"),
        [
            ("https", "", r"__Host-hostkit-9000=[^;]+; Path=/; .*; Secure"),
            ("https", "/ops", r"hostkit-9000=[^;]+; Path=/ops/; .*; Secure"),
            ("http", "/ops", r"hostkit-9000=[^;]+; Path=/ops/; .*SameSite=Strict"),
        ],
    )
    async def test_the_cookie_is_for_its_place_alone(self, scheme: str, root_path: str, cookie: str) -> None:
        """Over TLS it is for TLS, and for the host name alone; mounted, it is for what is below."""
        async with scene(token=TOKEN) as found:
            client = Client(found.client.app, scheme=scheme, root_path=root_path)
            answer = await client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            given = answer.headers["set-cookie"].partition(";")[0]
            seen = await client.get("/", cookie=given)

        assert re.fullmatch(cookie, answer.headers["set-cookie"])
        assert seen.status == 200

    async def test_two_on_one_machine_do_not_sign_each_others_clients_out(self) -> None:
        """A browser sends a cookie to every port, and one of the same name takes the place of another."""
        cookies: dict[str, str] = {}
        async with scene(token=TOKEN) as one, scene(token=TOKEN) as two:
            clients = [
                Client(found.client.app, host=host)
                for found, host in ((one, "localhost:9000"), (two, "localhost:9001"), (two, "localhost"))
            ]
            for client in clients:
                answer = await client.request("POST", "/sign-in", f"token={TOKEN}".encode())
                name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
                cookies[name] = value
            sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
            answers = [await client.get("/status.json", cookie=sent) for client in clients]

        assert list(cookies) == ["hostkit-9000", "hostkit-9001", "hostkit"]
        assert [answer.status for answer in answers] == [200] * 3

    async def test_a_program_sends_the_token(self) -> None:
        """As a bearer token, for every path."""
        async with scene(token=TOKEN) as found:
            answers = [
                await found.client.get(path, authorization=f"Bearer {TOKEN}")
                for path in ("/", "/status.json", "/status.txt", "/metrics", "/history.json?kind=queue&name=mail")
            ]

        assert [answer.status for answer in answers] == [200] * 5

    @pytest.mark.parametrize("end", ["", "\n"])
    async def test_the_token_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        """Where it is not given in code, the variable is asked; a secret made with ``echo`` ends with a line break."""
        monkeypatch.setenv("HOSTKIT_DASHBOARD_TOKEN", TOKEN + end)

        async with scene() as found:
            without = await found.client.get("/status.json")
            answer = await found.client.get("/status.json", authorization=f"bearer {TOKEN}")

        assert (without.status, without.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.status == 200


class TestEvents:
    async def test_every_end_of_a_run_has_its_line(self) -> None:
        """A run that is cancelled, one that is abandoned, and one that returned."""
        builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=1, cancellation_timeout=1))
        client = Client(dashboard_app(builder))
        may_end = anyio.Event()

        @builder.service(name="deaf")
        async def deaf() -> None:
            with anyio.CancelScope(shield=True):
                while not may_end.is_set():
                    try:
                        await may_end.wait()
                    except anyio.get_cancelled_exc_class():
                        continue

        builder.add_service(Puppet(drain=0.1), name="good")
        host = builder.build()
        with pytest.raises(HostFailedError):
            async with host:
                pass
        histories = [
            (await client.get(f"/history.json?kind=service&name={name}")).json()["groups"][0]["items"]
            for name in ("deaf", "good")
        ]
        may_end.set()
        await anyio.sleep(1)

        assert [item["what"] for item in histories[0]] == ["abandoned", "cancelled", "started"]
        assert histories[0][0]["where"].endswith(".deaf")
        assert [item["what"] for item in histories[1]] == ["stopped", "started"]

    async def test_are_bounded(self) -> None:
        """Twenty lines of a service, a thousand of all: the oldest go."""
        names = itertools.count()

        def prepare(builder: HostBuilder) -> None:
            for _ in range(1100):
                builder.add_service(Puppet())

        async with scene(prepare, worker={"on_failure": Restart(limit=None)}) as found:
            first = await found.client.get("/history.json?kind=service&name=worker")
            for _ in range(30):
                found.worker.fail(type(f"Error{next(names)}", (OSError,), {})())
                await anyio.sleep(100)
            noisy = await found.history(kind="service", name="worker")
            others = [await found.history(kind="service", name=f"puppet-{number}") for number in (2, 1100)]

        assert first.json()["groups"] == []
        assert len(noisy["groups"][0]["items"]) == 20
        assert [bool(other["groups"]) for other in others] == [False, True]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import hostkit.ext.dashboard", {"starlette", "prometheus_client", "uvicorn"}),
        ("import hostkit.ext.health", {"starlette", "prometheus_client", "uvicorn"}),
        (
            "from hostkit import HostBuilder; from hostkit.ext.dashboard import Dashboard; Dashboard(HostBuilder())",
            {"prometheus_client"},
        ),
    ],
)
def test_loads_only_what_it_needs(code: str, absent: set[str], tmp_path: Path) -> None:
    """What is slow to import is imported when it is used."""
    with Child(*PYTHON, "-c", f"{code}\nimport sys; print('loaded', *sys.modules)", cwd=tmp_path) as child:
        line = child.wait_for(lambda line: line.startswith("loaded "))
        child.end()

    assert line is not None, child.text
    assert absent.isdisjoint(line.split())


class TestText:
    def test_lines_without_the_folders_above(self) -> None:
        """Of a line of code two parts of the path are shown; what is no line is shown as it is."""
        from hostkit.ext.dashboard._text import short_lines

        assert (
            short_lines("/srv/app/stock/sync.py:141 in merge; /app.py:3 in main")
            == "stock/sync.py:141 in merge; app.py:3 in main"
        )
        assert short_lines("C:\\app\\stock\\sync.py:141") == "stock/sync.py:141"
        assert short_lines("somewhere") == "somewhere"
        assert short_lines(None) is None

    def test_details_that_a_row_can_show(self) -> None:
        """Strings and finite numbers, twenty of them, not too long."""
        from hostkit.ext.dashboard._text import details

        odd = {
            "list": [1],
            "none": None,
            "nan": float("nan"),
            "huge": 10**400,
            "yes": True,
            "long": "x" * 300,
            "n": 1.5,
        }

        assert details(odd) == {"yes": True, "long": "x" * 200 + "… 100 more", "n": 1.5}
        assert len(details({str(number): number for number in range(50)})) == 20

    def test_an_error_of_a_library_alone(self) -> None:
        """Where no line is the user's own, it is the innermost one; an error that was not raised has none."""
        from hostkit.ext.dashboard._text import line_of

        try:
            json.JSONDecoder().raw_decode("")
        except ValueError as error:
            found = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)

        assert (line_of(found) or "").startswith("json/decoder.py:")
        assert line_of(ValueError()) is None
        assert line_of(None) is None


class TestLives:
    async def test_has_a_lifespan_of_its_own(self) -> None:
        """A server that asks for one is told that it may begin."""
        sent: list[Message] = []
        asked = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Message:
            return asked.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await dashboard_app(HostBuilder(QUIET))({"type": "lifespan", "app": None}, receive, send)

        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    async def test_a_second_start_has_a_history_of_its_own(self) -> None:
        """The history begins anew with each start of the host."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        builder.add_service(Puppet(), name="only")
        host = builder.build()

        for _ in range(2):
            async with host:
                history = (await client.get("/history.json?kind=service&name=only")).json()
        status = (await client.get("/status.json")).json()

        assert [item["what"] for item in history["groups"][0]["items"]] == ["started"]
        assert status["host"]["state"] == HostState.STOPPED
