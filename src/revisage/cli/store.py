"""``revisage store``: who is in a store of consented faces, and their true deletion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revisage import facestore
from revisage.cli.options import JsonOption, StoreArgument
from revisage.cli.show import print_lines, print_table

if TYPE_CHECKING:
    from revisage.facestore import Person

__all__ = ["store_app"]

store_app = typer.Typer(
    help="The store of consented faces that restore --collect fills: list, name, forget, purge.", no_args_is_help=True
)

Who = Annotated[str, typer.Argument(metavar="PERSON", help="Number or label of `revisage store list`.")]


@store_app.command("list")
def list_people(
    store: StoreArgument,
    person: Annotated[
        str | None, typer.Option("--person", metavar="PERSON", help="This person alone, face by face.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List who is in a store, with their consents."""
    with _open(store) as opened:
        found = opened.people(person)
    if as_json:
        print_lines([json.dumps({"store": str(store), "people": [entry.to_json() for entry in found]}, indent=2)])
    elif not found:
        print_lines([f"{store} holds no faces"])
    elif person is None:
        print_table(("person", "label", "faces", "sources", "consent"), [_person_row(entry) for entry in found])
    else:
        _print_faces(found[0])


def _person_row(person: Person) -> tuple[object, ...]:
    return person.id, person.label or "", len(person.faces), ", ".join(person.sources), "; ".join(person.consents)


def _print_faces(person: Person) -> None:
    print_lines([f"person {person.id}{f', {person.label}' if person.label else ''}"])
    print_lines(f"consent: {text}" for text in person.consents)
    for face in person.faces:
        seen = f"{face.source} frame {face.frame}, track {face.track}, {face.native_px:.0f} px wide"
        print_lines([f"{seen}, sharpness {face.sharpness:.2f}, restored by {face.model}"])
        print_lines([f"  {face.before}", f"  {face.after}"])


@store_app.command()
def name(
    store: StoreArgument, person: Who, label: Annotated[str, typer.Argument(metavar="LABEL", help="What to call them.")]
) -> None:
    """Give a person a label that can stand for their number."""
    with _open(store) as opened:
        number = opened.name(person, label)
    print_lines([f"person {number} is called {label.strip()}"])


@store_app.command()
def forget(store: StoreArgument, person: Who) -> None:
    """Delete all faces of a person: pictures, rows, and what the database's files remember."""
    with _open(store) as opened:
        count = opened.forget(person)
    print_lines([f"{_faces(count)} of {person} deleted from {store}"])


@store_app.command()
def purge(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for where nobody can answer.")] = False,
) -> None:
    """Delete a whole store: all faces, the index, the folder."""
    with _open(store) as opened:
        if not yes:
            count = sum(len(entry.faces) for entry in opened.people())
            typer.confirm(f"Delete all {count} faces of {store}?", abort=True, err=True)
        count = opened.purge()
    print_lines([f"{_faces(count)} deleted" + ("" if store.exists() else f"; {store} is gone")])


def _faces(count: int) -> str:
    return "1 face" if count == 1 else f"{count} faces"


def _open(store: Path) -> facestore.FaceStore:
    facestore.find_place(store)  # names a missing extra before the import does
    return facestore.FaceStore.open(store)
