"""Access control: host names, tokens, cookies, origins and the length of URLs."""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import anyio

from hostkit.ext._request import LOOPBACK_NAMES, header, host_name, is_local, is_loopback_address
from hostkit.ext.health import PROBE_PATHS

TOKEN_VARIABLE = "HOSTKIT_DASHBOARD_TOKEN"  # noqa: S105  # its name
SHORTEST_TOKEN = 16
COOKIE = "hostkit"
SESSION = 12 * 3600.0
LONGEST_URL = 2_048
TRIES_AT_ONCE = 5

Scope = Mapping[str, Any]


@dataclass
class RefusedError(Exception):
    """Raised for a request that is refused.

    Attributes:
        status: The HTTP status.
        words: The reason, for the client.
        headers: Further headers of the response.
    """

    status: HTTPStatus
    words: str
    headers: tuple[tuple[str, str], ...] = ()


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on *host* is reached from this machine only."""
    # A socket file is for its user alone.
    return host == "localhost" or host.startswith("unix:") or is_loopback_address(host.strip("[]"))


def check_token(token: object) -> None:
    """Check that a token is not easily guessed.

    Raises:
        TypeError: *token* is no str.
        ValueError: It is too short. The message does not show it.
    """
    if not isinstance(token, str):
        message = f"token must be a str, got a {type(token).__name__}"
        raise TypeError(message)
    if len(token) < SHORTEST_TOKEN:
        message = f"token must have at least {SHORTEST_TOKEN} characters, got {len(token)}"
        raise ValueError(message)


class Guard:
    """Checks requests.

    Args:
        token: The token that clients must present; None to admit clients of this machine only.
        hosts: The accepted values of the header Host, without port; empty for the default.
        actions: Whether actions are allowed.

    Attributes:
        allows_actions: The same.
    """

    def __init__(self, token: str | None, hosts: Iterable[str], *, actions: bool) -> None:
        """Make the key that signs the cookies of this process."""
        self._digest = None if token is None else sha256(token.encode()).digest()
        self._hosts = frozenset(host.lower() for host in hosts)
        self.allows_actions = actions
        self._key = secrets.token_bytes(32)
        self._tries = float(TRIES_AT_ONCE)
        self._tried_at = 0.0

    @property
    def asks_token(self) -> bool:
        """Whether clients must sign in."""
        return self._digest is not None

    def check_request(self, scope: Scope, path: str) -> None:
        """Check the length of the URL and the header Host, which DNS rebinding cannot forge.

        Raises:
            RefusedError: The URL is too long, or the name is not accepted.
        """
        if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > LONGEST_URL:
            raise RefusedError(HTTPStatus.REQUEST_URI_TOO_LONG, "the URL is too long")
        # A kubelet asks the probes by the address of the pod, and is not on loopback.
        asks_probe = path in PROBE_PATHS and not is_local(scope)
        hosts = self._hosts or (LOOPBACK_NAMES if self._digest is None and not asks_probe else None)
        if hosts is not None and host_name(scope) not in hosts:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "this server has no such name; see the option hosts=")

    def check_signed_in(self, scope: Scope) -> None:
        """Check the cookie or the token; if there is none, that the client is on this machine.

        Raises:
            RefusedError: The client is not signed in, or has tried too often.
        """
        if self._digest is None:
            if not is_local(scope):
                raise RefusedError(HTTPStatus.FORBIDDEN, "without a token this is for clients on its own machine only")
            return
        if self._has_session(scope):
            return
        scheme, _, given = header(scope, b"authorization").partition(" ")
        if scheme.lower() != "bearer":
            challenge = ("WWW-Authenticate", "Bearer")
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "sign in, or send the token", (challenge,))
        self.check_token(given)

    def is_trusted(self, scope: Scope) -> bool:
        """Return whether a client has a valid cookie; a token is not compared, as that try would not be limited."""
        return self._digest is not None and self._has_session(scope)

    def check_token(self, given: str) -> None:
        """Check a token. Wrong ones are limited to five at once and then one a second, for all clients together.

        Raises:
            RefusedError: It is wrong, or there were too many wrong ones; then a right one is refused as well.
        """
        now = anyio.current_time()
        self._tries = min(TRIES_AT_ONCE, self._tries + max(0.0, now - self._tried_at))
        self._tried_at = now
        if self._tries < 1:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "too many tries", (("Retry-After", "1"),))
        given_digest = sha256(given.encode(errors="surrogateescape")).digest()
        if self._digest is None or not hmac.compare_digest(given_digest, self._digest):
            self._tries -= 1
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "that is not the token")

    def check_action(self, scope: Scope) -> None:
        """Check that actions are allowed, and that the request does not come from another site's page.

        Raises:
            RefusedError: Actions are not allowed, or the origin or the type of the body is wrong.
        """
        if not self.allows_actions:
            raise RefusedError(HTTPStatus.FORBIDDEN, "this page is read-only (actions=False)")
        if header(scope, b"content-type").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an action is application/json")
        own = f"{scope['scheme']}://{header(scope, b'host')}"
        site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
        if site:
            allowed = site == "same-origin"
        elif origin:
            allowed = origin == own
        else:  # not a browser
            allowed = self._digest is not None and bool(header(scope, b"authorization"))
        if not allowed:
            words = f"requests of another origin are refused; from a command line send the header Origin: {own}"
            raise RefusedError(HTTPStatus.FORBIDDEN, words)

    def session_cookie(self, scope: Scope) -> str:
        """Return the header Set-Cookie for a client that has presented the token."""
        issued = str(int(anyio.current_time()))
        return self._cookie(scope, f"{issued}.{self._signature(issued)}", int(SESSION))

    def expired_cookie(self, scope: Scope) -> str:
        """Return the header Set-Cookie that signs a client out."""
        return self._cookie(scope, "", 0)

    def _cookie(self, scope: Scope, value: str, max_age: int) -> str:
        path = f"{scope.get('root_path', '')}/"
        secure = "; Secure" if scope["scheme"] == "https" else ""
        return f"{_cookie_name(scope)}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"

    def _has_session(self, scope: Scope) -> bool:
        for pair in header(scope, b"cookie").split(";"):
            name, _, value = pair.strip().partition("=")
            issued, _, signature = value.partition(".")
            if name == _cookie_name(scope) and issued.isascii() and issued.isdecimal():
                fresh = 0 <= anyio.current_time() - int(issued[:20]) < SESSION
                if fresh and hmac.compare_digest(signature.encode(), self._signature(issued).encode()):
                    return True
        return False

    def _signature(self, issued: str) -> str:
        assert self._digest is not None
        return hmac.digest(self._key, self._digest + issued.encode(), "sha256").hex()


def _cookie_name(scope: Scope) -> str:
    # A browser sends a cookie to every port of its host: two dashboards would sign each other's clients out.
    port = header(scope, b"host").rpartition(":")[2]
    name = f"{COOKIE}-{port}" if port.isdecimal() else COOKIE
    whole_site = scope["scheme"] == "https" and not scope.get("root_path")
    return f"__Host-{name}" if whole_site else name
