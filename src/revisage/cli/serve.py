"""``revisage serve``, ``worker``, ``token`` and ``ui``: restoration behind an API and on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revisage import service
from revisage.cli.show import print_lines, print_table
from revisage.core import ConfigError

__all__ = ["serve", "token_app", "ui", "worker"]

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Folder for uploads and results.", show_default=False),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="postgresql://USER:PASSWORD@HOST/NAME; by default SQLite in the data folder. "
        "Put a password into REVISAGE_SERVICE_DATABASE_URL instead.",
        show_default=False,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="ADDRESS",
        help="Store for uploads and results, such as s3://BUCKET/FOLDER, instead of the data folder.",
        show_default=False,
    ),
]
Allowed = Annotated[
    list[Path] | None,
    typer.Option("--allow-folder", metavar="DIR", help="Requests may name files in this folder.", show_default=False),
]

token_app = typer.Typer(help="Tokens of the service: add, list, revoke.", no_args_is_help=True)


def serve(
    host: Annotated[str, typer.Option("--host", help="Where to listen; others than this machine need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    storage: Storage = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, max=64, help="Restorations side by side; 0: `revisage worker` does it.")
    ] = 1,
    allow_folder: Allowed = None,
    root_path: Annotated[
        str,
        typer.Option(
            "--root-path",
            metavar="PATH",
            help="Where a proxy has put the service, such as /revisage.",
            show_default=False,
        ),
    ] = "",
    require_token: Annotated[bool, typer.Option("--require-token", help="Ask for a token on 127.0.0.1 too.")] = False,
) -> None:
    """Serve restoration over HTTP: POST /v1/jobs and so on, see /openapi.json.

    Limits are settings in the environment, such as REVISAGE_SERVICE_MAX_UPLOAD_BYTES; docs/rest.md lists them.
    """
    for folder in allow_folder or ():
        if not folder.is_dir():
            raise ConfigError(f"--allow-folder: there is no folder {folder}; make it first, or name another")
    folders = tuple(allow_folder) if allow_folder else None
    places = {"data_dir": data_dir, "database_url": database_url, "storage": storage}
    settings = service.ServiceSettings.load(**places, allowed_folders=folders)
    service.run_server(settings, host=host, port=port, workers=workers, needs_token=require_token, root_path=root_path)


def worker(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    storage: Storage = None,
    lane: Annotated[
        str, typer.Option("--lane", metavar="restore|quick", help="Restorations, or what somebody waits for.")
    ] = "restore",
    spread: Annotated[
        str | None,
        typer.Option(
            "--spread",
            metavar="auto|ADDRESS",
            help="Spread the segments of a restoration over the workers of this Ray cluster.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Work on the jobs of a service until stopped. Any number of workers may share one store."""
    if lane not in ("restore", "quick"):
        raise ConfigError(f"lane cannot be '{lane}'; choose one of restore, quick")
    service.set_up_log()
    places = {"data_dir": data_dir, "database_url": database_url, "storage": storage}
    settings = service.ServiceSettings.load(**places, spread=spread)
    service.run_worker(settings, lane)


@token_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of whoever gets it.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a token and print it. It is shown this once."""
    print_lines([service.add_token(service.open_store(data_dir=data_dir, database_url=database_url), name)])


@token_app.command("list")
def list_all(data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """List the tokens, without their secrets."""
    found = service.list_tokens(service.open_store(data_dir=data_dir, database_url=database_url))
    rows = [(token.id, token.name, service.iso(token.created), service.iso(token.revoked) or "") for token in found]
    print_table(("id", "name", "made", "revoked"), rows)


@token_app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Of `revisage token list`.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a token worthless at once."""
    service.revoke_token(service.open_store(data_dir=data_dir, database_url=database_url), token_id)


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 is this computer alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where uploads and results are kept.")
    ] = None,
    max_upload: Annotated[int | None, typer.Option(min=1, metavar="MB", help="Largest upload, in megabytes.")] = None,
) -> int:
    """Open the page: restore a video without the command line."""
    from revisage.ui import run_page

    limit = None if max_upload is None else max_upload * 1_000_000
    settings = service.ServiceSettings.load(data_dir=data_dir, max_upload_bytes=limit)
    return run_page(settings, host=host, port=port, browser=browser)
