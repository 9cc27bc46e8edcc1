from .requests import read_form
from .server import create_app, run_server

__all__ = [
    "create_app",
    "read_form",
    "run_server",
]
