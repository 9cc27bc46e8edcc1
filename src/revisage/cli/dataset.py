"""``revisage dataset``: make, check and describe sets of faces, GIFs and videos."""

from __future__ import annotations

import typer

__all__ = ["dataset_app"]

dataset_app = typer.Typer(help="Make, check and describe data sets.", no_args_is_help=True)


@dataset_app.callback()
def _group() -> None:
    """Make, check and describe data sets."""
