"""Who is let in: tokens, cookies, hosts, origins, sizes, and what a stranger can find out."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from asgi_client import LOCAL, STRANGER, Answer, Client
from dashboard_host import TOKEN, scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from puppet import QUIET, Puppet

from hostkit import Host, HostBuilder
from hostkit.ext.asgi import Message
from hostkit.ext.dashboard import Dashboard, dashboard_app

pytestmark = pytest.mark.needs("starlette", "prometheus_client")

SECRET_PATHS = ("/", "/status.json", "/status.txt", "/history.json?kind=service&name=worker", "/events", "/metrics")
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON_TYPE = {"content_type": "application/json"}
OWN = "http://localhost:9000"


def record_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Have the comparison in constant time find everything different; return the list of the lengths it was given."""
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    monkeypatch.setattr("hostkit.ext.dashboard._guard.hmac.compare_digest", compare)
    return compared


async def act(client: Client, **headers: str) -> Answer:
    """Ask for a pause, with *headers*."""
    body = json.dumps({"kind": "schedule", "name": "hourly"}).encode()
    return await client.request("POST", "/actions/pause", body, **headers)


class TestToken:
    @pytest.mark.parametrize("path", SECRET_PATHS)
    async def test_without_it_nothing_is_seen(self, path: str) -> None:
        """Every path but the probes asks for the token, of clients of this machine too."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.get(path)

        assert answer.status == (303 if path == "/" else 401)
        assert b"worker" not in answer.body

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
    async def test_probes_do_not_ask_for_it(self, path: str) -> None:
        """Nor do they look at it."""
        async with scene(token=TOKEN) as found:
            client = Client(found.client.app, peer=STRANGER, host="10.1.2.3:9000")
            answers = [await client.get(path), await client.get(path, authorization="Bearer wrong")]
            answers += [await client.get(path) for _ in range(20)]

        assert {answer.status for answer in answers} == {200}

    @pytest.mark.parametrize(
        "authorization",
        [
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN.upper()}",
            f"Bearer  {TOKEN}",
            "Bearer " + "x" * 60_000,
            "Bearer \xff\xfe",
        ],
    )
    async def test_a_wrong_one_is_refused(self, authorization: str) -> None:
        """However near it comes."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.get("/status.json", authorization=authorization)

        assert (answer.status, answer.json()) == (401, {"error": "that is not the token"})

    @pytest.mark.parametrize("authorization", [f"Basic {TOKEN}", TOKEN, "", f"Bearer{TOKEN}"])
    async def test_another_scheme_is_no_try(self, authorization: str) -> None:
        """What is no bearer token is told how to do it, and takes no try away."""
        async with scene(token=TOKEN) as found:
            for _ in range(20):
                answer = await found.client.get("/status.json", authorization=authorization)

        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")

    async def test_five_tries_then_one_a_second(self) -> None:
        """For all clients together, with the form and without; who is signed in already is not asked."""
        async with scene(token=TOKEN) as found:
            client = found.client
            answer = await client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = answer.headers["set-cookie"].partition(";")[0]
            wrong = [(await client.get("/status.json", authorization="Bearer wrong")).status for _ in range(7)]
            right = await client.get("/status.json", **BEARER)
            form = await client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            signed_in = await client.get("/status.json", cookie=cookie)
            await anyio.sleep(1)
            later = [(await client.get("/status.json", authorization="Bearer wrong")).status for _ in range(2)]
            await anyio.sleep(1)
            at_last = await client.get("/status.json", **BEARER)

        assert wrong == [401] * 5 + [429] * 2
        assert (right.status, right.headers["retry-after"]) == (429, "1")
        assert form.status == 429
        assert form.headers["retry-after"] == "1"
        assert "Too many tries." in form.text
        assert signed_in.status == 200
        assert later == [401, 429]
        assert at_last.status == 200

    async def test_is_compared_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Digests of one length are compared, by the function that is made for it; the token itself never is."""
        async with scene(token=TOKEN) as found:
            compared = record_comparisons(monkeypatch)
            await found.client.get("/status.json", **BEARER)
            await found.client.get("/status.json", authorization="Bearer x")

        assert compared == [(32, 32)] * 2

    async def test_a_cookie_is_compared_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is its signature."""
        async with scene(token=TOKEN) as found:
            signed_in = await found.client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            compared = record_comparisons(monkeypatch)
            refused = await found.client.get("/status.json", cookie=signed_in.headers["set-cookie"].partition(";")[0])

        assert compared == [(64, 64)]
        assert refused.status == 401

    async def test_never_in_a_url(self) -> None:
        """A URL ends up in logs: what stands there is no token."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.get(f"/status.json?token={TOKEN}")

        assert answer.status == 401

    @pytest.mark.parametrize(
        ("token", "error"), [("short", ValueError), (b"x" * 16, TypeError), ("x" * 15, ValueError)]
    )
    def test_one_that_is_too_short_is_refused(self, token: object, error: type[Exception]) -> None:
        """At the line that gives it, without showing it."""
        with pytest.raises(error, match="token must") as caught:
            dashboard_app(HostBuilder(QUIET), token=token)  # type: ignore[arg-type]

        assert "short" not in str(caught.value)


class TestCookie:
    @pytest.mark.parametrize(
        "forge",
        [
            lambda cookie: cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
            lambda cookie: cookie.replace("hostkit-9000=", "hostkit-9000=1"),
            lambda cookie: "hostkit-9000=",
            lambda cookie: "hostkit-9000=.",
            lambda cookie: "hostkit-9000=0.",
            lambda cookie: "hostkit-9000=" + "9" * 5000 + "." + "0" * 64,
            lambda cookie: "hostkit-9000=\xb2.x",
            lambda cookie: "hostkit-9000=-1." + cookie.partition(".")[2],
            lambda cookie: f"other={cookie.partition('=')[2]}",
            lambda cookie: "",
        ],
    )
    async def test_a_forged_one_is_refused(self, forge: Callable[[str], str]) -> None:
        """Its instant and its key belong together."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = answer.headers["set-cookie"].partition(";")[0]
            refused = await found.client.get("/status.json", cookie=forge(cookie))

        assert refused.status == 401

    async def test_ends_after_twelve_hours_and_with_the_process(self) -> None:
        """Then one signs in again; another process does not know it."""
        async with scene(token=TOKEN) as found, scene(token=TOKEN) as other:
            answer = await found.client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = answer.headers["set-cookie"].partition(";")[0]
            elsewhere = await other.client.get("/status.json", cookie=cookie)
            await anyio.sleep(12 * 3600 - 10)
            before = await found.client.get("/status.json", cookie=cookie)
            await anyio.sleep(20)
            after = await found.client.get("/status.json", cookie=cookie)

        assert [elsewhere.status, before.status, after.status] == [401, 200, 401]


class TestHostHeader:
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9000"])
    async def test_names_of_this_machine(self, host: str) -> None:
        """Without a token, the page goes by the names that cannot be another's."""
        async with scene() as found:
            assert (await found.client.get("/status.json", host=host)).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:9000",
            "localhost.evil.example",
            "",
            "127.0.0.1.nip.io",
            "[::1",
            "0.0.0.0",  # noqa: S104  # no address to bind
            "localhost:x",
        ],
    )
    async def test_other_names_are_refused(self, host: str) -> None:
        """A page of another site whose name suddenly means this machine gets nothing."""
        async with scene() as found:
            answer = await found.client.get("/status.json", host=host)
            acted = await act(found.client, host=host, origin=f"http://{host}", **JSON_TYPE)

        assert answer.status == acted.status == 400
        assert answer.json() == {"error": "this server has no such name; see the option hosts="}

    async def test_given_names_hold_for_everything(self) -> None:
        """Also for the probes, and with a token."""
        async with scene(token=TOKEN, hosts=["ops.example"]) as found:
            statuses = [
                (await found.client.get(path, host=host, **BEARER)).status
                for host in ("ops.example", "OPS.example:443", "localhost")
                for path in ("/status.json", "/livez")
            ]

        assert statuses == [200, 200, 200, 200, 400, 400]

    async def test_with_a_token_any_name_will_do(self) -> None:
        """The kubelet asks by the address of the pod."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.get("/status.json", host="10.4.0.17:9000", **BEARER)

        assert answer.status == 200

    def test_names_are_a_collection(self) -> None:
        """One text is a mistake that would let single letters in."""
        with pytest.raises(TypeError, match=r"hosts must be a collection of names, got 'ops\.example'"):
            dashboard_app(HostBuilder(QUIET), hosts="ops.example")

    @pytest.mark.parametrize("name", ["ops.example:9000", "[::1]:9000", "::1", "fe80::a"])
    def test_names_have_no_port(self, name: str) -> None:
        """One that has is refused at its line: no request would ever come by it."""
        with pytest.raises(ValueError, match="hosts are names without a port, IPv6 addresses in brackets") as caught:
            dashboard_app(HostBuilder(QUIET), hosts=["ops.example", "[::1]", name])

        assert repr(name) in str(caught.value)


class TestMounted:
    async def test_without_a_token_it_is_for_this_machine(self) -> None:
        """An app that was mounted in a public one shows strangers the probes, and nothing else."""
        async with scene() as found:
            stranger = Client(found.client.app, peer=STRANGER)
            proxied = Client(found.client.app, x_forwarded_for="203.0.113.7")
            proxied.headers = {**proxied.headers, "x-forwarded-for": "203.0.113.7"}
            answers = [await client.get("/status.json") for client in (stranger, proxied)]
            probe = await stranger.get("/livez", host="10.0.0.1")
            acted = await act(stranger, origin=OWN, **JSON_TYPE)

        assert [answer.status for answer in answers] == [403, 403]
        assert answers[0].json() == {"error": "without a token this is for clients on its own machine only"}
        assert probe.status == 200
        assert acted.status == 403

    async def test_failing_checks_are_told_to_those_who_are_signed_in(self) -> None:
        """A stranger hears that a service is not well, one who is signed in hears why."""
        async with scene(token=TOKEN) as found:
            found.worker.unwell = OSError("the disk is full")
            stranger = Client(found.client.app, peer=STRANGER)
            answer = await stranger.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = answer.headers["set-cookie"].partition(";")[0]
            texts = [(await stranger.get("/readyz")).text, (await stranger.get("/readyz", cookie=cookie)).text]

        assert texts == ["worker: not well\n", "worker: OSError: the disk is full\n"]


class TestOrigin:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"sec_fetch_site": "same-origin", **JSON_TYPE}, 200),
            ({"origin": OWN, **JSON_TYPE}, 200),
            ({"origin": OWN, "content_type": "Application/JSON; charset=utf-8"}, 200),
            ({"sec_fetch_site": "cross-site", "origin": OWN, **JSON_TYPE}, 403),
            ({"sec_fetch_site": "same-site", **JSON_TYPE}, 403),
            ({"sec_fetch_site": "none", **JSON_TYPE}, 403),
            ({"origin": "http://evil.example", **JSON_TYPE}, 403),
            ({"origin": "https://localhost:9000", **JSON_TYPE}, 403),
            ({"origin": "http://localhost:9001", **JSON_TYPE}, 403),
            ({"origin": "null", **JSON_TYPE}, 403),
            (JSON_TYPE, 403),
            ({"authorization": "Bearer x", **JSON_TYPE}, 403),
            ({"origin": OWN}, 415),
            ({"origin": OWN, "content_type": "text/plain"}, 415),
            ({"origin": OWN, "content_type": "application/x-www-form-urlencoded"}, 415),
        ],
    )
    async def test_on_this_machine(self, headers: dict[str, str], status: int) -> None:
        """Without a token, the origin is what stands between another site's page and the host."""
        async with scene() as found:
            answer = await act(found.client, **headers)
            paused = found.scheduler.jobs["hourly"].paused

        assert answer.status == status
        assert paused is (status == 200)

    async def test_a_refusal_says_what_to_send(self) -> None:
        """From a command line it is one header."""
        async with scene() as found:
            answer = await act(found.client, **JSON_TYPE)

        assert answer.json()["error"].endswith("send the header Origin: http://localhost:9000")

    async def test_a_program_with_the_token_needs_no_origin(self) -> None:
        """What has the token is no page of another site; a cookie alone may come with one."""
        async with scene(token=TOKEN) as found:
            answer = await found.client.request("POST", "/sign-in", f"token={TOKEN}".encode())
            cookie = answer.headers["set-cookie"].partition(";")[0]
            program = await act(found.client, **BEARER, **JSON_TYPE)
            browser = await act(found.client, cookie=cookie, **JSON_TYPE)
            elsewhere = await act(found.client, cookie=cookie, origin="http://evil.example", **JSON_TYPE)

        assert [program.status, browser.status, elsewhere.status] == [200, 403, 403]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_actions_are_posted(self, method: str) -> None:
        """No other method does anything, and no other site may ask which would."""
        async with scene() as found:
            answer = await found.client.request(method, "/actions/stop", b"{}", origin=OWN, **JSON_TYPE)
            state = found.host.lifetime.state

        assert answer.status == 405
        assert state == "started"
        assert not any(name.startswith("access-control") for name in answer.headers)


class TestSizes:
    @pytest.mark.parametrize("parts", [[b" " * 5000], [b" " * 1000] * 5, [b"x"] * 5000])
    async def test_a_long_body_is_refused(self, parts: list[bytes]) -> None:
        """However it comes; no more of it is read than may be."""
        async with scene(token=TOKEN) as found:
            acted = await found.client.request("POST", "/actions/stop", parts, origin=OWN, **BEARER, **JSON_TYPE)
            signed_in = await found.client.request("POST", "/sign-in", parts)
            state = found.host.lifetime.state

        assert acted.status == signed_in.status == 413
        assert acted.headers["connection"] == "close"
        assert state == "started"

    async def test_a_body_that_does_not_come_is_not_waited_for(self) -> None:
        """Ten seconds, then the connection is free again."""
        async with scene() as found:
            sent: list[Any] = []

            async def send(message: Message) -> None:
                sent.append(message)

            async def receive() -> Message:
                await anyio.sleep_forever()
                raise AssertionError

            scope = found.client.scope("POST", "/actions/stop", {"origin": OWN, **JSON_TYPE})
            began = anyio.current_time()
            await found.client.app(scope, receive, send)
            took = anyio.current_time() - began

        assert sent[0]["status"] == 408
        assert took == 10

    async def test_a_client_that_leaves_in_its_body(self) -> None:
        """What is not complete is not done."""
        async with scene() as found:
            sent: list[Any] = []

            async def send(message: Message) -> None:
                sent.append(message)

            async def receive() -> Message:
                return {"type": "http.disconnect"}

            await found.client.app(
                found.client.scope("POST", "/actions/stop", {"origin": OWN, **JSON_TYPE}), receive, send
            )
            state = found.host.lifetime.state

        assert sent[0]["status"] == 400
        assert state == "started"

    async def test_a_long_url_is_refused(self) -> None:
        """What it asks for is not even looked for."""
        async with scene() as found:
            path = await found.client.get("/" + "x" * 2048)
            query = await found.client.get("/status.json?" + "x" * 2048)
            just = await found.client.get("/status.json?" + "x" * 2000)

        assert [path.status, query.status, just.status] == [414, 414, 200]

    async def test_room_is_kept_for_the_probes(self) -> None:
        """A hundred requests at a time, of which ten are for probes and metrics."""
        async with scene() as found:
            may_go = anyio.Event()
            statuses: list[int] = []

            async def send(message: Message) -> None:
                statuses.append(message.get("status", 0))
                await may_go.wait()

            async def receive() -> Message:
                await anyio.sleep_forever()
                raise AssertionError

            async def ask() -> None:
                await found.client.app(found.client.scope("GET", "/", {}), receive, send)

            async with anyio.create_task_group() as group:
                for _ in range(90):
                    group.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                page = await found.client.get("/status.json")
                probe = await found.client.get("/livez")
                metrics = await found.client.get("/metrics")
                may_go.set()
            after = await found.client.get("/status.json")

        assert statuses.count(200) == 90
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert [probe.status, metrics.status, after.status] == [200, 200, 200]


class TestAnswers:
    @pytest.mark.parametrize(
        "path", [*SECRET_PATHS[:4], "/livez", "/sign-in", "/nothing", "/actions/stop", "/x" * 1100]
    )
    async def test_every_answer_has_the_headers(self, path: str) -> None:
        """A browser runs nothing of it, shows it in no frame, keeps it nowhere, and tells no other site."""
        async with scene(token=TOKEN) as found:
            answers = [await found.client.get(path), await found.client.get(path, **BEARER)]

        for answer in answers:
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'sha256-")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert "server" not in answer.headers

    @pytest.mark.parametrize(
        "path",
        ["/..", "/../etc/passwd", "/%2e%2e/", "//status.json", "/status.json//", "/actions", "/actions/",
         "/actions/a/b", "/page.html", "/_app.py", "/status.json%00", "/\udcff", "/STATUS.JSON",
         "/static/../status.json"],
    )  # fmt: skip
    async def test_there_is_nothing_else(self, path: str) -> None:
        """No file is served, and no path leads to another one."""
        async with scene() as found:
            answer = await found.client.get(path)

        assert (answer.status, answer.json()) == (404, {"error": "not found"})

    @pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/livez", "/events", "/history.json"])
    async def test_what_is_read_is_not_posted(self, path: str) -> None:
        """Each path has its methods."""
        async with scene() as found:
            answer = await found.client.request("POST", path)

        assert (answer.status, answer.json()) == (405, {"error": "method not allowed"})

    async def test_head_is_answered(self) -> None:
        """Also where the body would have no end."""
        async with scene() as found:
            answers = [await found.client.request("HEAD", path) for path in ("/", "/status.json", "/events", "/livez")]

        assert [answer.status for answer in answers] == [200] * 4

    async def test_clients_that_do_not_read_lose_their_place(self) -> None:
        """A hundred requests are answered at a time; who does not receive the answer makes room after ten seconds."""

        async def stand_still(*_message: Message) -> Message:
            await anyio.sleep_forever()
            raise AssertionError

        async def ask(path: str, **headers: str) -> None:
            await found.client.app(found.client.scope("GET", path, headers), stand_still, stand_still)
            answered.append(path)

        answered: list[str] = []
        async with scene() as found, anyio.create_task_group() as group:
            group.start_soon(partial(ask, "/events", host="evil.example"))  # what is refused is read as slowly
            for _ in range(100):
                group.start_soon(ask, "/metrics")
            await anyio.sleep(9)
            full = await found.client.get("/livez")
            await anyio.sleep(2)
            free = await found.client.get("/livez")

        assert (full.status, free.status) == (503, 200)
        assert Counter(answered) == {"/events": 1, "/metrics": 100}

    async def test_an_error_of_our_own_tells_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is in the log of the server; the client gets no traceback, path or version."""

        def broken(self: Host, **_options: object) -> None:
            message = "secret"
            raise RuntimeError(message)

        async with scene() as found:
            sent: list[Any] = []

            async def send(message: Message) -> None:
                sent.append(message)

            async def receive() -> Message:
                return {"type": "http.request"}

            with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="secret"):
                patch.setattr(Host, "status", broken)
                await found.client.app(found.client.scope("GET", "/status.json", {}), receive, send)

        assert sent[0]["status"] == 500
        assert json.loads(sent[1]["body"]) == {"error": "internal error; see the log"}


class TestService:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "ops.example", "127.0.0.1.example", ""])  # noqa: S104
    def test_beyond_this_machine_it_needs_a_token(self, host: str) -> None:
        """An address that others reach is refused without one, at the line that gives it."""
        builder = HostBuilder(QUIET)

        with pytest.raises(ValueError, match="is reached from other machines, so token= "):
            Dashboard(builder, host=host)
        Dashboard(builder, host=host, token=TOKEN)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "unix:/run/app.sock"])
    def test_on_this_machine_it_needs_none(self, host: str) -> None:
        """Loopback addresses, and a file that only this user may open."""
        Dashboard(HostBuilder(QUIET), host=host)

    def test_refuses_unknown_options(self) -> None:
        """Further options are the web server's."""
        with pytest.raises(TypeError, match="workers: not for a web server inside a host"):
            Dashboard(HostBuilder(QUIET), workers=4)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", "G\u00c4T"])
PATH = st.sampled_from(
    ["/", "/status.json", "/status.txt", "/history.json", "/metrics", "/sign-in", "/sign-out", "/livez", "/readyz",
     "/actions/run-now", "/actions/pause", "/actions/requeue", "/actions/requeue-all", "/actions/cancel",
     "/actions/retry"],
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
QUERY = st.dictionaries(st.sampled_from(["kind", "name", "limit", "scheduler", "service"]), TEXT, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
BODIES = st.binary(max_size=50) | st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["schedule", "queue", "service", "durable", "host"]) | VALUES,
        "name": st.sampled_from(["hourly", "mail", "worker", "scheduler"]) | VALUES,
        "id": VALUES,
        "scheduler": VALUES,
        "service": VALUES,
    },
).map(lambda body: json.dumps(body).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["host", "origin", "content_type", "authorization", "cookie", "accept", "accept_encoding",
                     "if_none_match", "sec_fetch_site", "x_forwarded_for"]),
    st.text(st.characters(max_codepoint=255), max_size=30),
    max_size=4,
)  # fmt: skip


@given(METHODS, PATH, QUERY, BODIES, HEADERS, st.booleans(), st.sampled_from([LOCAL, STRANGER, None]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sent_is_answered(  # noqa: PLR0917  # hypothesis fills them
    method: str,
    path: str,
    query: dict[str, str],
    body: bytes,
    headers: dict[str, str],
    own: bool,  # noqa: FBT001
    peer: tuple[str, int] | None,
) -> None:
    """No request is an error of the server's, and none but an action that was allowed changes anything."""
    from urllib.parse import urlencode

    from hostkit.testing import virtual_time

    async def main() -> Answer:
        async with scene() as found:
            client = Client(found.client.app, peer=peer)
            allowed = {"origin": OWN, **JSON_TYPE} if own else {}
            return await client.request(method, f"{path}?{urlencode(query)}", body, **{**headers, **allowed})

    backend, options = virtual_time("asyncio")
    answer = anyio.run(main, backend=backend, backend_options=options)

    assert answer.status in {200, 303, 304, 400, 401, 403, 404, 405, 409, 415, 503}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_service_without_events_still_answers() -> None:
    """A host that was started before its dashboard was made shows what it can."""
    builder = HostBuilder(QUIET)
    builder.add_service(Puppet(), name="only")
    host = builder.build()

    async with host:
        client = Client(dashboard_app(host))
        status = (await client.get("/status.json")).json()
        history = (await client.get("/history.json?kind=service&name=only")).json()

    assert status["services"][0]["state"] == "started"
    assert history["groups"] == []
