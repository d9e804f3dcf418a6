"""Who may talk to the server: tokens, host names, origins, and how much may be sent.

Every request passes here before anything else looks at it (RFC 6750 bearer tokens; RFC 6454 origins; host
names against DNS rebinding). A token may be given as `Authorization: Bearer`, as the cookie that the page
gets, or, for programs that take nothing but an address, as the path /t/TOKEN/ before any other.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from anypet.errors import AnyPETError
from anypet.server.uploads import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "anypet"
SHORTEST_TOKEN = 16
_TOKEN = re.compile(rf"[A-Za-z0-9._~-]{{{SHORTEST_TOKEN},}}")
JSON_BYTES = 4 * 2**20
DROPPED = 16 * 2**20  # bytes of too long a request that are still read, so that its client hears the answer
OPEN = {("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/auth/"), ("POST", "/auth/token")}
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"content-security-policy": (
        b"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' data: blob:; "
        b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}


class Access:
    """Tokens and whose they are.

    Args:
        tokens: secret -> owner.

    Raises:
        AnyPETError: no token, or one that could be guessed.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        if not tokens:
            raise AnyPETError("a server needs a token; anypet serve makes one where none is given")
        for secret in tokens:
            if not _TOKEN.fullmatch(secret):
                raise AnyPETError(
                    f"a token is {SHORTEST_TOKEN} or more letters, digits, '-', '_', '.' or '~'; "
                    f"one of those given is not ({len(secret)} characters)"
                )
        self._tokens = dict(tokens)
        self._cookies = {cookie_of(secret): owner for secret, owner in tokens.items()}

    def owner(self, secret: str) -> str | None:
        """Whose token it is, in the same time for every wrong one; None for a wrong one."""
        return _find(self._tokens, secret)

    def owner_of_cookie(self, value: str) -> str | None:
        """Whose cookie it is, or None."""
        return _find(self._cookies, value)


def cookie_of(secret: str) -> str:
    """The cookie for a token; the token cannot be had from it."""
    return hmac.new(secret.encode(), b"anypet cookie", hashlib.sha256).hexdigest()


def _find(known: Mapping[str, str], given: str) -> str | None:
    found = None
    for secret, owner in known.items():
        if hmac.compare_digest(secret.encode(), given.encode()):
            found = owner
    return found


class Guard:
    """ASGI middleware; sets `scope["state"]["owner"]`, whose token the request has.

    Args:
        app: what requests that may pass go to.
        access: the tokens.
        hosts: names under which the server is reached, beside "localhost" and addresses (an address in the
            Host header cannot be the work of DNS rebinding).
        origins: pages of other servers that may talk to this one.
        limits: of uploads.
        answered: called with the status of every answer.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        limits: Limits | None = None,
        answered: Callable[[int], None] | None = None,
    ) -> None:
        self.app = app
        self.access = access
        self.origins = {origin.rstrip("/").lower() for origin in origins}
        named = {urlsplit(origin).hostname or "" for origin in self.origins}
        self.hosts = {"localhost", *(host.lower() for host in hosts), *named} - {""}
        self.limits = limits or Limits()
        self.answered = answered or (lambda status: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        origin = headers.get("origin", "").rstrip("/").lower()
        send = self._dressed(send, origin if origin in self.origins else "")
        refused = self._refusal(scope, headers, origin)
        if refused is not None:
            await _answer(send, *refused)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _answer(send, 204, "", _preflight(headers))
        else:
            await self._pass(scope, headers, receive, send)

    def _refusal(self, scope: Scope, headers: Mapping[str, str], origin: str) -> tuple[int, str] | None:
        """Status and reason for requests that other sites sent, or that came under another name."""
        host = headers.get("host", "").lower()
        if not self._known(host):
            return 421, "this server is not known under that name; start it with --host NAME"
        if origin and origin not in self.origins and urlsplit(origin).netloc != host:
            return (
                403,
                "pages of other sites may not talk to this server; start it with --origin to allow one",
            )
        cross = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        if cross and not origin:
            return 403, "other sites may not load from this server"
        return None

    def _known(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname if host else None
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.hosts
        return True

    async def _pass(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        owner = self._owner(scope, headers)
        if owner is None and (scope["method"], scope["path"]) not in OPEN:
            text = "a token is needed: open the address that was printed when the server started"
            await _answer(send, 401, text, {b"www-authenticate": b"Bearer"})
            return
        scope.setdefault("state", {})["owner"] = owner
        most = JSON_BYTES if owner is None else self._most(headers)
        try:
            declared = int(headers.get("content-length", "0"))
        except ValueError:
            declared = -1
        if declared < 0:
            await _answer(send, 400, "the request's length is no number")
            return
        if declared > most:
            await _drop(receive)
            await _answer(send, 413, f"at most {most / 2**20:.0f} MiB can be sent here")
            return
        counted = _Counted(receive, send, most)
        await self.app(scope, counted.receive, counted.send)

    def _most(self, headers: Mapping[str, str]) -> int:
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        large = kind in ("multipart/form-data", "application/octet-stream")
        return self.limits.request_bytes if large else JSON_BYTES

    def _owner(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Whose request it is; a token at the head of the path is taken off."""
        path = scope["path"]
        if path.startswith("/t/"):
            secret, _, rest = path[3:].partition("/")
            scope["path"] = "/" + rest
            scope["raw_path"] = b"/" + scope.get("raw_path", b"").split(b"/", 3)[-1] if rest else b"/"
            return self._by_address(scope, unquote(secret))
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.access.owner(secret.strip())
        if path == "/":
            given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
            if given:
                return self._by_address(scope, given[0])
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        return None if cookie is None else self.access.owner_of_cookie(cookie.value)

    def _by_address(self, scope: Scope, secret: str) -> str | None:
        """A token in the address: the page turns it into a cookie."""
        owner = self.access.owner(secret)
        if owner is not None:
            scope.setdefault("state", {})["cookie"] = cookie_of(secret)
        return owner

    def _dressed(self, send: Send, origin: str) -> Send:
        """Adds the headers that every answer has."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answered(int(message["status"]))
                given = {key.lower() for key, _ in message.get("headers", [])}
                extra = {**_HEADERS, b"cache-control": b"no-store"}
                if origin:
                    extra |= {
                        b"access-control-allow-origin": origin.encode("latin-1"),
                        b"access-control-expose-headers": b"X-Meta, Content-Disposition",
                        b"vary": b"Origin",
                    }
                new = [(key, value) for key, value in extra.items() if key not in given]
                message = {**message, "headers": [*message.get("headers", []), *new]}
            await send(message)

        return dressed


class _Counted:
    """Counts what a client sends, for those who do not say beforehand how much it is."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most

    async def receive(self) -> Message:
        if self._left < 0:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left >= 0:
            return message
        if message.get("more_body"):
            await _drop(self._receive)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._left < 0 and message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"connection", b"close")]
            message = {**message, "status": 413, "headers": headers}
        await self._send(message)


async def _drop(receive: Receive) -> None:
    """Reads and forgets the rest of a request, within bounds: one closed unread resets the connection, and
    its client never sees why.
    """
    left = DROPPED
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _preflight(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    asked = headers.get("access-control-request-headers", "")
    return {
        b"access-control-allow-methods": b"GET, HEAD, POST, PUT, PATCH, DELETE",
        b"access-control-allow-headers": asked.encode("latin-1"),
        b"access-control-max-age": b"600",
    }


async def _answer(send: Send, status: int, text: str, headers: Mapping[bytes, bytes] | None = None) -> None:
    body = json.dumps({"detail": text}).encode() if text else b""
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status >= 400:  # whatever else the client wanted to send is not waited for
        told.append((b"connection", b"close"))
    await send(
        {"type": "http.response.start", "status": status, "headers": [*told, *(headers or {}).items()]}
    )
    await send({"type": "http.response.body", "body": body})
