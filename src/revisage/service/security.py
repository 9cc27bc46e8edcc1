"""Who may ask: bearer tokens where the service is exposed, and nobody but this machine's user where it is not."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from revisage.service.problems import ProblemError, problem_response
from revisage.service.store import JobStore
from revisage.service.tokens import check_token

__all__ = ["Guard", "Owner", "is_loopback"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}

_bearer = HTTPBearer(auto_error=False, description="A token of `revisage token add`; not needed on 127.0.0.1.")


def is_loopback(host: str) -> bool:
    """Whether a name or address stands for this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def owner_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str | None:
    """Name of the token that a request came with; None where none is needed.

    Raises:
        ProblemError: a token is needed and there is none that is good.
    """
    if not request.app.state.needs_token:
        return None
    store: JobStore = request.app.state.store
    token = check_token(store, credentials.credentials) if credentials is not None else None
    if token is None:
        raise ProblemError(
            401, "no_token", "send a valid token: Authorization: Bearer …", WWW_Authenticate='Bearer realm="revisage"'
        )
    return token.name


Owner = Annotated[str | None, Depends(owner_of)]


class Guard:
    """Adds security headers to each answer. A service without tokens also refuses what a web page elsewhere could
    make a browser on this machine send: a foreign Origin, or a Host that is not this machine."""

    def __init__(self, app: ASGIApp, *, needs_token: bool) -> None:
        self._app = app
        self._needs_token = needs_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if not self._needs_token and _is_foreign(Headers(scope=scope)):
            refusal = problem_response(403, "foreign", "this service answers to this machine only")
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def _is_foreign(headers: Headers) -> bool:
    host = urlsplit(f"//{headers.get('host', '')}")
    if not is_loopback(host.hostname or ""):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host.netloc
