"""Typer's renderer of help pages, without the parts of rich that ours do not use: half of its loading time."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["load_help_renderer"]

_UNUSED = (("rich.markdown", "Markdown"), ("rich.traceback", "Traceback"))
"""Module and class: our help texts are not Markdown, and errors are not drawn by rich."""


class _Later(type):
    """The metaclass of stand-ins: each loads the class that it stands for as soon as anybody uses it."""

    place: tuple[str, str]

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        return cls._real()(*arguments, **options)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)

    def _real(cls) -> Any:
        module, name = cls.place
        return getattr(importlib.import_module(module), name)


def load_help_renderer() -> None:
    """Import ``typer.rich_utils``. The stand-ins are in the place of modules while it is imported, and not after."""
    absent = [(module, name) for module, name in _UNUSED if module not in sys.modules]
    for module, name in absent:
        stand_in = ModuleType(module)
        setattr(stand_in, name, _Later(name, (), {"place": (module, name)}))
        sys.modules[module] = stand_in
    try:
        importlib.import_module("typer.rich_utils")
    finally:
        for module, _ in absent:
            del sys.modules[module]
