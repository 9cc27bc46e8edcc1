"""Run the service with uvicorn."""

from __future__ import annotations

import os
import socket

from revisage.core import ConfigError, MissingExtraError, OutputError
from revisage.service.log import set_up_log
from revisage.service.settings import ServiceSettings
from revisage.service.store import JobStore
from revisage.service.supervise import Supervisor
from revisage.service.tokens import list_tokens

__all__ = ["run_server"]

_CLOSE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75  # longer than clients and proxies keep idle connections, so that they close first


def run_server(
    settings: ServiceSettings, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1, needs_token: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of the job store.
        host, port: to listen at. Any other host than this machine alone needs a token in the store.
        workers: worker processes for restorations, with one more for quick jobs; 0: others see to that.
        needs_token: ask for a token also on this machine alone.

    Raises:
        ConfigError: the host is open to others and there is no token.
        OutputError: the port is taken.
        MissingExtraError: the extra ``service`` is not installed.
    """
    try:
        import uvicorn

        from revisage.service.app import create_app
        from revisage.service.security import is_loopback
    except ModuleNotFoundError:
        raise MissingExtraError("The service", "service") from None

    os.umask(0o077)
    set_up_log()
    store = JobStore(settings)
    needs_token = needs_token or not is_loopback(host)
    if needs_token and all(token.revoked is not None for token in list_tokens(store)):
        raise ConfigError(f"refusing to listen on {host} without a token; make one with: revisage token add NAME")
    app = create_app(store, needs_token=needs_token, supervisor=Supervisor(store, workers))
    listener = _listener(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    print(f"revisage serves at http://{_shown(host)}:{listener.getsockname()[1]}", flush=True)  # noqa: T201
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        OutputError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise OutputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    listener.listen(1024)
    listener.set_inheritable(False)
    return listener


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
