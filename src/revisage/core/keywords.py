"""The options of a restoration as keywords of Python's functions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypedDict

from revisage.core.presets import PresetName

__all__ = ["RestoreOptions"]

PathLike = str | Path


class RestoreOptions(TypedDict, total=False):
    """The fields of RestoreConfig as keywords, for those who check types: ``strenght=`` is found before it runs.

    Times may be seconds or texts (``1:02.5``), factors texts (``3/2``). None means: not given.
    """

    model: str | None
    look: Literal["faithful", "natural"] | None
    strength: float | None
    fidelity: float | None
    fine: Literal["auto", "keep", "clean"] | None
    denoise: float | None
    dust: bool | None
    color: Literal["match", "keep", "restore"] | None
    grain: Literal["auto", "none", "match"] | None
    preset: PresetName | None
    upscale: float | str | None
    background: Literal["none", "lanczos", "realesrgan-x2", "realesrgan-x4", "realesr-general-x4"] | None
    tile: int | None
    detector: Literal["compact", "retinaface-r50", "retinaface-mobile", "yunet"] | None
    detection_threshold: float | None
    min_face: int | None
    max_face: int | None
    max_yaw: float | None
    hidden: Literal["spare", "restore"] | None
    max_hidden: float | None
    max_faces: int | None
    only_center_face: bool | None
    who: Sequence[str] | None
    only: Sequence[str] | None
    except_: Sequence[str] | None
    reader: PathLike | None
    reference: Sequence[PathLike] | None
    guide_frames: bool | None
    aligned: bool | None
    temporal: Literal["off", "smooth", "flow", "raft"] | None
    temporal_passes: int | None
    carry: int | None
    start: float | str | Fraction | None
    end: float | str | Fraction | None
    suffix: str | None
    ext: str | None
    codec: str | None
    crf: float | None
    encoder_preset: str | None
    pixel_format: str | None
    copy_untouched: Literal["auto", "always", "never"] | None
    deinterlace: bool | None
    device: str | None
    engine: Literal["auto", "torch", "openvino"] | None
    precision: Literal["auto", "fp32", "bf16", "int8"] | None
    batch: int | None
    workers: int | Literal["auto"] | None
    resume: bool | None
    work_dir: PathLike | None
    keep_work: bool | None
    save_faces: PathLike | None
    save_frames: PathLike | None
    compare: PathLike | None
    report: PathLike | None
    profile: PathLike | None
    collect: PathLike | None
    consent: str | None
    collect_frames: int | None
    provenance: bool | None
    watermark: str | None
    c2pa_key: PathLike | None
    c2pa_cert: PathLike | None
    overwrite: bool | None
    dry_run: bool | None
