"""``revisage export``: a trained run as a file to restore with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revisage.cli.show import print_lines

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `revisage train`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="NAME.safetensors, NAME.onnx or NAME.xml (OpenVINO).")
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="safetensors|onnx|openvino", help="By default what FILE ends in.", show_default=False
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise an OpenVINO file; refused below 40 dB.")] = False,
    without_lattice: Annotated[
        bool, typer.Option("--without-lattice", help="Take the lattice of rows and columns out of a compact's head.")
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="best|last", help="By default the best there is.", show_default=False),
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option("--faces", metavar="DIR", help="Aligned faces to check with; by default the run's own."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Export a trained model, checked against the trained network, with a model card beside it."""
    from revisage.core import ConfigError
    from revisage.train import FORMATS, card_path, export_run

    for name, value, allowed in (
        ("--format", format_, tuple(FORMATS.values())),
        ("--checkpoint", checkpoint, ("best", "last")),
    ):
        if value is not None and value not in allowed:
            raise ConfigError(f"{name} cannot be '{value}': choose one of {', '.join(allowed)}")
    lines: list[str] = []
    written = export_run(
        run,
        output,
        format=format_,  # type: ignore[arg-type]
        int8=int8,
        without_lattice=without_lattice,
        checkpoint=checkpoint,  # type: ignore[arg-type]
        faces=faces,
        overwrite=overwrite,
        say=lines.append,
    )
    print_lines([str(written), *(f"  {line}" for line in lines), f"  card: {card_path(written)}"])
