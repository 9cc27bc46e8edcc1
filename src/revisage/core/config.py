"""RestoreConfig: the one record of options that the command line, Python, REST and the page share."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from revisage.core.errors import ConfigError
from revisage.core.presets import PRESETS, PresetName
from revisage.core.progress import parse_time

__all__ = [
    "DETECTORS",
    "EMBEDDED_RESTORERS",
    "Option",
    "Panel",
    "RestoreConfig",
    "Scope",
    "Use",
    "fields_about",
    "given_for",
    "live_fields",
    "make_config",
    "nearest",
    "option_of",
    "served_fields",
]

Background = Literal["none", "lanczos", "realesrgan-x2", "realesrgan-x4", "realesr-general-x4"]
Copying = Literal["auto", "always", "never"]
Detector = Literal["compact", "retinaface-r50", "retinaface-mobile", "yunet"]
Fine = Literal["auto", "keep", "clean"]
Color = Literal["match", "keep", "restore"]
Grain = Literal["auto", "none", "match"]
Hidden = Literal["spare", "restore"]
Look = Literal["faithful", "natural"]
Temporal = Literal["off", "smooth", "flow", "raft"]
Use = Literal["frames in a row", "interlaced video", "video encoders"]
Panel = Literal["Options", "Restoration", "Faces", "Stability", "File", "Machine", "Face store", "Beside the output"]
Scope = Literal["networks", "scan", "result", "side output", "run switch"]
DETECTORS: tuple[str, ...] = get_args(Detector)


@dataclass(frozen=True)
class Option:
    """What a field of :class:`RestoreConfig` is about, beside its type, range, default and help.

    Command line, REST, OpenAPI description, page, cache keys and manifests are made from this and nothing else.

    Attributes:
        panel: the heading that it stands under; ``Options`` holds the few that matter most, and comes first.
        scopes: what its value decides about: ``networks`` (which are loaded, and how), ``scan`` (the faces that are
            found), ``result`` (pixels and file), ``side output`` (files beside the output), ``run switch`` (how the
            run goes about it; the output is the same).
        served: whether a request to a service may set it: not where it names a file of the server's, or is about
            the server's own processes and files. The photos of ``who`` are those that came with the request.
        metavar: what stands for the value in help, where the type does not tell.
        live: whether it means something to frames that are restored as they come in.
        of_net: whether it is a setting of the restorer's network, by its name there; only some networks have it.
        only_for: the one thing that it means something to; a source or an output that is without has no use for it.
    """

    panel: Panel
    scopes: tuple[Scope, ...]
    served: bool = True
    metavar: str | None = None
    live: bool = False
    of_net: bool = False
    only_for: Use | None = None


def _to_time(value: object) -> object:
    if isinstance(value, str):
        return parse_time(value)
    if isinstance(value, float):
        return Fraction(str(value))
    return Fraction(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_factor(value: object) -> object:
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
    return value


Time = Annotated[
    Fraction,
    BeforeValidator(_to_time),
    PlainSerializer(str, return_type=str, when_used="json"),
    Field(ge=0),
]


def _set_in_type(value: str) -> str:
    if not re.fullmatch(r"[ -~©]{1,60}", value) or not value.strip():
        raise ValueError("it should be 1 to 60 characters of ASCII, for the letters that frames are marked with")
    return value


Mark = Annotated[str, AfterValidator(_set_in_type)]
Factor = Annotated[float, BeforeValidator(_to_factor), Field(ge=0.25, le=8)]


EMBEDDED_RESTORERS: dict[Look, str] = {"faithful": "compact", "natural": "compact-natural"}
"""Name of the restorer that the package ships for each look."""

_DEVICES = ("auto", "cpu", "cuda", "mps")
_GPUS = r"cuda:\d{1,2}(,\d{1,2})*"


def _known_device(value: str) -> str:
    if value in _DEVICES or re.fullmatch(_GPUS, value):
        return value
    known = ", ".join(_DEVICES)
    raise ValueError(f"choose one of {known}, or GPUs by number as in cuda:0,1{nearest(value, _DEVICES)}")


Device = Annotated[
    str,
    AfterValidator(_known_device),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_DEVICES)}|{_GPUS})$"}),
]
Workers = Annotated[int, Field(ge=1, le=64)] | Literal["auto"]


class RestoreConfig(BaseModel):
    """What to do with the faces, the frame and the file. Frozen; unknown keys are refused.

    Ranges, defaults and help texts stand here once. :func:`make_config` builds one with errors for people.
    """

    # What checks values is built by the first that are checked: help, which only reads the fields, has none.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    model: Annotated[str, Option("Options", ("networks",), live=True)] = Field(
        EMBEDDED_RESTORERS["faithful"],
        description="Restorer: a name of `revisage models list` or a file (.safetensors, .pth, .onnx, .xml).",
    )
    look: Annotated[Look, Option("Restoration", ("networks", "result"), live=True)] = Field(
        "faithful",
        description="Of compact: faithful keeps nearest to what was there, and is smooth where nothing can be known; "
        "natural has the texture of photos, some of it made up.",
    )
    strength: Annotated[float, Option("Options", ("result",), live=True)] = Field(
        1.0, ge=0, le=1, description="0 leaves faces as they are, 1 restores them fully."
    )
    fidelity: Annotated[float | None, Option("Restoration", ("networks", "result"), of_net=True, live=True)] = Field(
        None,
        ge=0,
        le=1,
        description="Of codeformer: 0 paints the best face, 1 keeps to the source; 0.5 if not given.",
    )
    fine: Annotated[Fine, Option("Restoration", ("networks", "result"))] = Field(
        "auto",
        description="What is finer than a restorer's crops in large faces: auto takes noise, blocks and blur away and "
        "leaves faces that are clean already, small ones too; keep leaves what is fine and restores each face; clean "
        "takes them from small and clean faces too.",
    )
    denoise: Annotated[float, Option("Restoration", ("networks", "result"))] = Field(
        0.0,
        ge=0,
        le=1,
        description="How much of its noise and blocks is taken off the whole picture, before faces are restored.",
    )
    dust: Annotated[bool, Option("Restoration", ("result",), only_for="frames in a row")] = Field(
        False, description="Take spots off film that are in one frame only, by the frames before and after."
    )
    color: Annotated[Color, Option("Restoration", ("result",))] = Field(
        "match",
        description="match gives restored faces the colours of the source, keep leaves them those of the restorer, "
        "restore takes fading and casts off the whole picture, shot by shot.",
    )
    grain: Annotated[Grain, Option("Restoration", ("result",))] = Field(
        "auto",
        description="Noise of their own that restored faces get back, so that they do not look pasted into a grainy "
        "picture: auto half of it, none nothing, match all.",
    )
    preset: Annotated[PresetName, Option("Options", ("scan", "result"))] = Field(
        "none",
        description="A set of options for one kind of footage, shown by `revisage presets`; those that you give win.",
    )
    upscale: Annotated[Factor, Option("Options", ("result",), live=True)] = Field(
        1.0, description="Size of the output, as a factor (2, 1.5, 3/2)."
    )
    background: Annotated[Background, Option("Restoration", ("networks", "result"))] = Field(
        "none", description="How the rest of the frame is enlarged; none and lanczos keep its look."
    )
    tile: Annotated[int, Option("Restoration", ("networks",))] = Field(
        384, ge=0, le=4096, description="Tile size in px of a Real-ESRGAN background; 0: whole frame."
    )

    detector: Annotated[Detector, Option("Faces", ("networks", "scan"), live=True)] = Field(
        "compact", description="Face detector."
    )
    detection_threshold: Annotated[float | None, Option("Faces", ("networks", "scan"), live=True)] = Field(
        None,
        gt=0,
        lt=1,
        description="Score from which a face counts; the detector's own default if not given.",
    )
    min_face: Annotated[int, Option("Faces", ("result",), live=True)] = Field(
        16, ge=1, description="Smaller faces (longer box side, px) are left as they are."
    )
    max_face: Annotated[int | None, Option("Faces", ("result",), live=True)] = Field(
        None, ge=1, description="Larger faces (px) are left as they are."
    )
    max_yaw: Annotated[float, Option("Faces", ("result",), live=True)] = Field(
        77.0,
        ge=20,
        le=90,
        description="Faces turned farther aside (degrees) are left as they are, and restored less from 18 before.",
    )
    hidden: Annotated[Hidden, Option("Faces", ("networks", "result"), live=True)] = Field(
        "spare",
        description="What is before a face (hands, hair, letters): spare leaves it as it is, restore restores it too.",
    )
    max_hidden: Annotated[float, Option("Faces", ("result",), live=True)] = Field(
        0.6,
        gt=0,
        le=1,
        description="Faces of which more than this part is hidden are left as they are, with hidden spare.",
    )
    max_faces: Annotated[int, Option("Faces", ("result",), live=True)] = Field(
        50, ge=1, le=1000, description="At most this many faces a frame, the largest first."
    )
    only_center_face: Annotated[bool, Option("Faces", ("result",), live=True)] = Field(
        False, description="Restore only the face nearest to the centre."
    )
    who: Annotated[tuple[str, ...], Option("Faces", ("result",), metavar="NAME=PHOTO")] = Field(
        (), description="Who is who: a name and a photo of its bearer. Repeat it for more photos and people."
    )
    only: Annotated[tuple[str, ...], Option("Faces", ("result",), metavar="NAME")] = Field(
        (), description="Restore this person's faces and nobody else's; may be repeated."
    )
    except_: Annotated[tuple[str, ...], Option("Faces", ("result",), metavar="NAME")] = Field(
        (), description="Leave this person's faces as they are; may be repeated."
    )
    reader: Annotated[str, Option("Faces", ("networks", "result"), served=False)] = Field(
        "compact-reader", description="What tells people apart and reads faces: a face reader, or mobilefacenet."
    )
    reference: Annotated[tuple[Path, ...], Option("Faces", ("result",), served=False, metavar="PHOTO")] = Field(
        (),
        description="A sharp photo of somebody in it, whose detail guides the restoration of their face where the two "
        "agree; may be repeated, for more photos and people.",
    )
    guide_frames: Annotated[bool, Option("Faces", ("result",), only_for="frames in a row")] = Field(
        False, description="The finest frame of each person in a shot guides the restoration of those that are worse."
    )
    aligned: Annotated[bool, Option("Faces", ("scan", "result"))] = Field(
        False, description="The input already is one aligned face (FFHQ framing) per image."
    )

    temporal: Annotated[
        Temporal, Option("Options", ("networks", "scan", "result"), live=True, only_for="frames in a row")
    ] = Field(
        "flow",
        description="Stability: off (each frame by itself), smooth (steady landmarks), flow or raft (average along the "
        "motion too; raft needs the extra 'flow' and is slow without a GPU).",
    )
    temporal_passes: Annotated[int, Option("Stability", ("result",), only_for="frames in a row")] = Field(
        1,
        ge=1,
        le=2,
        description="2 averages over the frames ahead as well (flow and raft); about 50 frames wait in memory.",
    )
    carry: Annotated[int, Option("Stability", ("result",), only_for="frames in a row")] = Field(
        4,
        ge=0,
        le=24,
        description="A face that has hardly changed takes over what was restored of it before, in so many frames in a "
        "row at most (flow and raft); 0 restores each.",
    )

    start: Annotated[Time | None, Option("File", ("scan", "result"), metavar="TIME", only_for="frames in a row")] = (
        Field(None, description="Begin here: seconds or h:mm:ss.")
    )
    end: Annotated[Time | None, Option("File", ("scan", "result"), metavar="TIME", only_for="frames in a row")] = Field(
        None, description="Stop here: seconds or h:mm:ss."
    )

    suffix: Annotated[str | None, Option("File", ("run switch",), served=False, metavar="TEXT")] = Field(
        None,
        pattern=r"^[^/\\\x00]*$",
        description="Added to the names of outputs; _restored beside the inputs, nothing in a folder of outputs.",
    )
    ext: Annotated[str | None, Option("File", ("run switch",), served=False)] = Field(
        None,
        pattern=r"^\.?[A-Za-z0-9]+$",
        description="Ending of outputs that are not named, such as png or mp4; by default the input's own.",
    )
    codec: Annotated[str | None, Option("File", ("result",), only_for="video encoders")] = Field(
        None, description="Video encoder; by default the one nearest to the source's codec."
    )
    crf: Annotated[float | None, Option("File", ("result",), only_for="video encoders")] = Field(
        None, ge=0, le=63, description="Quality of the encoder; lower is better."
    )
    encoder_preset: Annotated[str | None, Option("File", ("result",), only_for="video encoders")] = Field(
        None, description="Speed preset of the video encoder (x264: ultrafast to placebo)."
    )
    pixel_format: Annotated[str | None, Option("File", ("result",), only_for="video encoders")] = Field(
        None, description="Pixel format of the output; by default the source's."
    )
    copy_untouched: Annotated[Copying, Option("File", ("result",), only_for="video encoders")] = Field(
        "auto",
        description="Take groups of pictures without a restored face over as they are, not encoded again; auto does "
        "unless codec, crf, encoder preset or pixel format are given.",
    )
    deinterlace: Annotated[bool, Option("File", ("scan", "result"), only_for="interlaced video")] = Field(
        False, description="Turn interlaced video into progressive frames."
    )

    device: Annotated[
        Device, Option("Machine", ("networks", "scan"), metavar="|".join((*_DEVICES, "cuda:0,1")), live=True)
    ] = Field("auto", description="Where the networks run; GPUs by number have a worker each.")
    engine: Annotated[Literal["auto", "torch", "openvino"], Option("Machine", ("networks", "scan"), live=True)] = Field(
        "auto", description="What runs the networks."
    )
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"], Option("Machine", ("networks", "scan"), live=True)
    ] = Field("auto", description="Arithmetic of the networks.")
    batch: Annotated[int, Option("Machine", ("result",))] = Field(
        8, ge=1, le=256, description="Faces restored at once."
    )
    workers: Annotated[Workers, Option("Machine", ("run switch",), served=False, metavar="N|auto")] = Field(
        1, description="Processes that restore segments side by side; auto: one a GPU, or one for 4 cores."
    )
    resume: Annotated[bool, Option("Machine", ("run switch",), served=False)] = Field(
        True, description="Take up what an interrupted run has finished; --no-resume begins anew."
    )
    work_dir: Annotated[Path | None, Option("Machine", ("run switch",), served=False, metavar="DIR")] = Field(
        None, description="Folder, also on another disk, for what is in work; by default the output's own."
    )
    keep_work: Annotated[bool, Option("Machine", ("run switch",), served=False)] = Field(
        False, description="Keep finished segments, also when stopped and at success: the next run takes them up."
    )

    save_faces: Annotated[Path | None, Option("Beside the output", ("side output",), served=False, metavar="DIR")] = (
        Field(None, description="Folder for cropped_faces/, restored_faces/ and cmp/.")
    )
    save_frames: Annotated[Path | None, Option("Beside the output", ("side output",), served=False, metavar="DIR")] = (
        Field(None, description="Folder for source/ and target/ pictures of each frame.")
    )
    compare: Annotated[Path | None, Option("Beside the output", ("side output",), served=False, metavar="FILE")] = (
        Field(None, description="File for a labelled side-by-side of input and output.")
    )
    report: Annotated[Path | None, Option("Beside the output", ("side output",), served=False, metavar="FILE")] = Field(
        None, description="File for the report (JSON)."
    )
    profile: Annotated[Path | None, Option("Beside the output", ("side output",), served=False, metavar="FILE")] = (
        Field(None, description="File for what each thread did when (JSON for ui.perfetto.dev or chrome://tracing).")
    )
    collect: Annotated[Path | None, Option("Face store", ("side output",), served=False, metavar="DIR")] = Field(
        None, description="Folder of a face store to keep crops of the restored faces in; needs --consent."
    )
    consent: Annotated[str | None, Option("Face store", ("side output",), served=False, metavar="TEXT")] = Field(
        None, description="What the people shown agreed to, in words; kept with the faces."
    )
    collect_frames: Annotated[int, Option("Face store", ("side output",), served=False)] = Field(
        3, ge=1, le=100, description="Frames kept of each face track, the best ones."
    )
    provenance: Annotated[bool, Option("File", ("result",))] = Field(
        True, description="Say in the output that faces were restored, by which model and how strongly."
    )
    watermark: Annotated[Mark | None, Option("File", ("result",), metavar="TEXT")] = Field(
        None,
        description="Words in ASCII for the lower right corner of each frame in which a face is restored.",
    )
    c2pa_key: Annotated[Path | None, Option("File", ("result",), served=False, metavar="KEY.pem")] = Field(
        None, description="Private key (PEM) to sign a C2PA manifest of what was done with; needs --c2pa-cert."
    )
    c2pa_cert: Annotated[Path | None, Option("File", ("result",), served=False, metavar="CERT.pem")] = Field(
        None, description="The key's certificate (PEM), with those of its issuers behind it."
    )
    overwrite: Annotated[bool, Option("Options", ("run switch",), served=False)] = Field(
        False, description="Replace existing output files."
    )
    dry_run: Annotated[bool, Option("Beside the output", ("run switch",), served=False)] = Field(
        False, description="Scan and plan only; write nothing."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        return {**_preset_options(values.get("preset")), **values} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> RestoreConfig:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({float(self.end):g} s) must lie after start ({float(self.start):g} s)")
        if self.look == "natural" and self.model != EMBEDDED_RESTORERS["faithful"]:
            raise ValueError(f"look natural is one of compact's: leave model out, or look (model is {self.model})")
        if self.max_face is not None and self.max_face < self.min_face:
            raise ValueError(f"max_face ({self.max_face}) must not be below min_face ({self.min_face})")
        if self.temporal_passes > 1 and not self.recurrent:
            raise ValueError(f"temporal_passes {self.temporal_passes} needs temporal flow or raft, not {self.temporal}")
        if self.only and self.except_:
            raise ValueError("only and except are two ways to say the same: give one of them")
        consent = (self.consent or "").strip()
        if self.collect is not None and not consent:
            raise ValueError("collect keeps faces only with consent: state in words what the people shown agreed to")
        if self.consent is not None and self.collect is None:
            raise ValueError("consent is about faces that are kept: name a store with collect, or leave it out")
        if (self.c2pa_key is None) != (self.c2pa_cert is None):
            raise ValueError("c2pa_key and c2pa_cert go together: the private key and its certificate")
        if self.c2pa_key is not None and not self.provenance:
            raise ValueError("c2pa_key signs what was done, and without provenance nothing is said of it")
        return self

    @property
    def restorer(self) -> str:
        """Name or file of the model that restores: compact's own, of the look that is wanted."""
        return self.model if self.look == "faithful" else EMBEDDED_RESTORERS[self.look]

    @property
    def copies(self) -> bool:
        """Whether packets of the source may go into the output; who wants to see all frames needs them decoded."""
        if (
            self.copy_untouched == "never"
            or self.deinterlace
            or self.color == "restore"
            or self.denoise > 0
            or self.dust
            or self.compare is not None
            or self.save_frames is not None
        ):
            return False
        asked = self.codec or self.crf is not None or self.encoder_preset or self.pixel_format
        return self.copy_untouched == "always" or not asked

    @property
    def recurrent(self) -> bool:
        """Whether faces are averaged along their motion."""
        return self.temporal in ("flow", "raft")

    @property
    def net_settings(self) -> dict[str, Any]:
        """The settings of the restorer's own network that were given."""
        names = (name for name in type(self).model_fields if option_of(name).of_net)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def about(self, *scopes: Scope) -> dict[str, Any]:
        """The values of the fields that decide about any of these, as JSON values."""
        return self.model_dump(mode="json", include=set(fields_about(*scopes)))

    def settings(self) -> dict[str, Any]:
        """What decides about the result, as JSON values: without paths of side outputs and run switches."""
        return self.about("networks", "scan", "result")


def _preset_options(name: Any) -> Mapping[str, Any]:
    """What a preset sets; nothing where there is none of this name, of which the field itself will say so."""
    preset = PRESETS.get(name) if isinstance(name, str) else None  # type: ignore[call-overload]
    return preset.options if preset is not None else {}


def option_of(field: str) -> Option:
    """What a field of RestoreConfig is about."""
    return next(data for data in RestoreConfig.model_fields[field].metadata if isinstance(data, Option))


@functools.cache
def fields_about(*scopes: Scope) -> tuple[str, ...]:
    """The fields of RestoreConfig that decide about any of these."""
    return tuple(name for name in RestoreConfig.model_fields if set(scopes) & set(option_of(name).scopes))


def given_for(config: RestoreConfig, use: Use) -> tuple[str, ...]:
    """The fields that only mean something to this and were given: they are neither the defaults nor the preset's."""
    usual = {name: field.default for name, field in RestoreConfig.model_fields.items()} | dict(
        _preset_options(config.preset)
    )
    fields = (name for name in RestoreConfig.model_fields if option_of(name).only_for == use)
    return tuple(name for name in fields if getattr(config, name) != usual[name])


def live_fields() -> tuple[str, ...]:
    """The fields of RestoreConfig that mean something to frames that are restored as they come in."""
    return tuple(name for name in RestoreConfig.model_fields if option_of(name).live)


def served_fields() -> tuple[str, ...]:
    """The fields of RestoreConfig that a request to a service may set."""
    return tuple(name for name in RestoreConfig.model_fields if option_of(name).served)


def make_config(base: RestoreConfig | Mapping[str, Any] | None = None, /, **options: Any) -> RestoreConfig:
    """A checked RestoreConfig from a base and options that override it (None means: not given).

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a value that is not allowed.
    """
    values = base.model_dump(exclude_unset=True) if isinstance(base, RestoreConfig) else dict(base or {})
    given = {key: value for key, value in options.items() if value is not None}
    if "preset" in given:
        # A saved config states what its own preset has set: it gives way to the new one with it.
        former = _preset_options(values.get("preset"))
        values = {key: value for key, value in values.items() if key not in former or value != former[key]}
    values |= given
    for key in values:
        if key not in RestoreConfig.model_fields:
            raise ConfigError(f"unknown option '{key}'{nearest(key, RestoreConfig.model_fields)}")
    try:
        return RestoreConfig(**values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from None


def nearest(word: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the known word nearest to ``word``, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{match[0]}'?" if match else ""


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    value = problem["input"]
    if problem["type"] == "literal_error":
        allowed = get_args(RestoreConfig.model_fields[name].annotation)
        return f"{name} cannot be '{value}'{nearest(str(value), allowed)}; choose one of {', '.join(allowed)}"
    text = problem["msg"].removeprefix("Value error, ")
    text = text[:1].lower() + text[1:].replace("Input should be", "it should be").replace(
        "input should be", "it should be"
    )
    return f"{name} cannot be {value!r}: {text}" if name else text
