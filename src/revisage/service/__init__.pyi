from .files import DataFolder
from .jobs import (
    InputFile,
    Job,
    JobStore,
    NotFoundError,
    ensure_workers,
    look,
    open_store,
    preview,
    receive,
    restore,
    result_path,
    scan,
    wait,
)
from .log import set_up_log
from .server import run_server
from .settings import ServiceSettings
from .tokens import add_token, list_tokens, revoke_token
from .values import iso
from .worker import run_worker

__all__ = [
    "DataFolder",
    "InputFile",
    "Job",
    "JobStore",
    "NotFoundError",
    "ServiceSettings",
    "add_token",
    "ensure_workers",
    "iso",
    "list_tokens",
    "look",
    "open_store",
    "preview",
    "receive",
    "restore",
    "result_path",
    "revoke_token",
    "run_server",
    "run_worker",
    "scan",
    "set_up_log",
    "wait",
]
