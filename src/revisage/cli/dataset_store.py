"""``revisage dataset from-store``: a training set from a store of consented faces."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from revisage.cli.dataset import dataset_app
from revisage.cli.shared import StoreArgument
from revisage.cli.show import print_lines

__all__ = ["from_store"]


@dataset_app.command("from-store")
def from_store(
    store: StoreArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the training set.")],
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="Only faces kept from that day on (UTC), such as 2026-01-31."),
    ] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="PERSON", help="Only this person's, by number or label.")
    ] = None,
    min_sharpness: Annotated[
        float, typer.Option("--min-sharpness", min=0, help="What a clean target must have; photos have 0.54 and more.")
    ] = 0.54,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier training set.")] = False,
) -> None:
    """Write the clean faces of a store as a training set, with their consents."""
    from revisage.datasets import training_set_from_store

    made = training_set_from_store(
        store,
        output,
        since=None if since is None else _day(since),
        person=person,
        min_sharpness=min_sharpness,
        overwrite=overwrite,
    )
    print_lines([str(made.list), f"  {made.images} faces of {made.people} persons"])
    print_lines(f"  left out: {count} {reason}" for reason, count in made.left_out.items())


def _day(text: str) -> date:
    from revisage.core import ConfigError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since cannot be '{text}'; write a day such as 2026-01-31") from None
