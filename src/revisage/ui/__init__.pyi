from .launch import run_page

__all__ = [
    "run_page",
]
