"""Who may ask: whoever knows the token, by the name of this machine itself, and for reading.

A page of the web that a user has open could send requests to a server of this machine, and let a
name of its own mean this machine to read the answers. It does not know the token; the name is not
ours; and no page may frame ours or learn its address from a link.
"""

from __future__ import annotations

from collections.abc import Iterable
from secrets import compare_digest, token_urlsafe
from typing import Any, Final

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_HEADERS: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def new_token() -> str:
    """Return a token that nobody guesses: 256 bits."""
    return token_urlsafe(32)


class Guard:
    """An ASGI application before *app*, which sees paths without the token.

    ``once`` is a second token: it leads to the first page, a single time. It is for the command
    line of a browser, which other users of the machine can read.
    """

    def __init__(self, app: Any, token: str, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)
        self.once: str | None = new_token()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [*message.get("headers", ())]
                named = {name for name, _ in own}
                more = [pair for pair in _HEADERS if pair[0] not in named]
                message = {**message, "headers": own + more}
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await _answer(send_guarded, *refused)
            return
        path = scope["path"].removeprefix(f"/{self._token}")
        inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
        await self._app(inner, receive, send_guarded)

    def _refused(self, scope: Any) -> tuple[int, str, str] | None:
        """Return status, text and the address of a redirection; None: it may pass."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            names = " or ".join(sorted(self._hosts))
            return 403, f"This server answers to the names {names} only.\n", ""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "These pages are for reading: GET and HEAD only.\n", ""
        given, _, rest = scope["path"].removeprefix("/").partition("/")
        if compare_digest(given.encode(), self._token.encode()):
            slash = scope["path"].count("/") > 1
            return None if slash else (307, "", f"/{self._token}/")
        once = self.once
        if once is not None and not rest and compare_digest(given.encode(), once.encode()):
            self.once = None
            return 303, "", f"/{self._token}/"
        text = "Not found. Open the address that dobbin browse has printed: it has a token.\n"
        return 404, text, ""


async def _answer(send: Any, status: int, text: str, location: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    if location:
        headers.append((b"location", location.encode()))
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
