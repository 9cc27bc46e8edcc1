"""What `evaluate` and `evaluate compare` both ask: which files, what of them, and what measures it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "DetectorOption",
    "DeviceOption",
    "EveryOption",
    "FacesOnlyOption",
    "InputOption",
    "MatchOption",
    "MaxFramesOption",
    "ReferenceOption",
    "ResizeOption",
    "SamplesOption",
    "WeightsOption",
    "area_of",
]

ReferenceOption = Annotated[
    Path, typer.Option("--reference", metavar="CLEAN", help="The undamaged original; a folder, paired by name.")
]
InputOption = Annotated[
    Path | None,
    typer.Option("--input", metavar="DEGRADED", help="What was restored, measured beside it.", show_default=False),
]
FacesOnlyOption = Annotated[
    bool | None,
    typer.Option("--faces-only/--whole", help="Measure inside faces only, or whole frames only; by default both."),
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="restored|reference", help="Which gives way where sizes differ; else an error.", show_default=False
    ),
]
MatchOption = Annotated[
    str, typer.Option(metavar="exact|nearest", help="Frames pair by time: the same time, or the nearest.")
]
EveryOption = Annotated[int, typer.Option(metavar=">=1", help="Measure each N-th frame.")]
MaxFramesOption = Annotated[
    int | None, typer.Option(metavar=">=1", help="Stop after so many measured frames.", show_default=False)
]
SamplesOption = Annotated[int, typer.Option(metavar=">=0", help="Frames that slow measures are taken on; 0 takes all.")]
DetectorOption = Annotated[str, typer.Option(metavar="NAME", help="Finds the faces in the reference.")]
WeightsOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Look here for the weights of LPIPS, VGGD, identity.", show_default=False),
]
DeviceOption = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Of the detector.")]


def area_of(faces_only: bool | None) -> str:
    """The setting that --faces-only, --whole, or neither asks for."""
    return {None: "both", True: "faces", False: "whole"}[faces_only]
