"""From a run to a file that ``revisage restore --model FILE`` takes: averaged weights, checked, and a card of them.

An embedded model is exported to the OpenVINO files that ship beside its weights, by which it runs without torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from revisage import models, nets
from revisage.core import (
    ConfigError,
    MissingExtraError,
    ProcessingError,
    check_file,
    output_error,
)
from revisage.engines import (
    WANTED_DB,
    OpenVinoEngine,
    agreement_db,
    compile_model,
    convert,
    core,
    load_openvino,
    make_engine,
    quantise,
    share_weights,
    split,
    write_model,
)
from revisage.nets import CompactGFPGAN
from revisage.train.export_inputs import detector_inputs, fine_inputs, restorer_inputs
from revisage.train.networks import half_precision
from revisage.train.restorer import remove_lattice
from revisage.train.run_record import Choice, TrainedRun, read_run

if TYPE_CHECKING:
    import openvino

__all__ = [
    "FORMATS",
    "LARGEST_DIFFERENCE",
    "Batch",
    "Format",
    "card_path",
    "check_agreement",
    "export_model",
    "export_run",
    "model_card",
    "write_onnx",
    "write_openvino",
]


Format = Literal["safetensors", "onnx", "openvino", "difference"]
FORMATS: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".xml": "openvino",
    ".npz": "difference",
}
_CALIBRATION_FACES = 48
_CHECKED_FACES = 8
"""Faces that int8 is calibrated on, and those that an export is compared with torch on."""


def export_run(
    run_dir: Path,
    output_path: Path,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    int8: bool = False,
    base: str | None = None,
    without_lattice: bool = False,
    checkpoint: Choice | None = None,
    faces: Path | None = None,
    overwrite: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write the averaged weights of a run of a restorer or a detector, and a model card beside them.

    Files appear under their names when all is written and checked. The card is NAME.md (NAME.onnx.md, NAME.xml.md), the
    run's last sample grid .png beside it, the weights of an OpenVINO file .bin.

    Args:
        run_dir: of ``revisage train``.
        output_path: its suffix tells the format: .safetensors (float16), .onnx, .xml (OpenVINO), or .npz, a difference
            from other weights (:func:`revisage.models.save_difference`).
        format: the same in words; must agree with the suffix.
        int8: quantise an OpenVINO file; the result agrees with torch to 40 dB on faces held out, or is refused.
        base: the embedded model that a difference is told from.
        without_lattice: take the lattice of rows and columns out of a compact's head (``remove_lattice``).
        checkpoint: the best is taken where there is one, else the last.
        faces: folder of aligned faces (of pictures, for a detector) to check and calibrate with; the run's own if None.
        overwrite: whether existing files are replaced.
        say: told how the file was checked.

    Raises:
        InputError: no run, no checkpoint, one of another kind, or no faces to check with.
        ConfigError: format, suffix, int8 and base do not go together.
        ModelError: there is no such base, or it is of another network.
        OutputError: a file exists or cannot be written.
        MissingExtraError: ONNX or int8 without the extra ``export``.
        ProcessingError: the file does not agree with the trained network.
    """
    kind = _format(output_path, format)
    if int8 and kind != "openvino":
        raise ConfigError("int8 is for OpenVINO: name the output .xml")
    if (base is None) == (kind == "difference"):
        raise ConfigError("a difference goes with its base: name the output .npz and, by --base, an embedded model")
    run = read_run(run_dir, checkpoint)
    if int8 and run.is_detector:
        raise ConfigError(f"{run_dir} is the run of a detector: in int8 its coordinates would jitter; leave int8 out")
    _check_target(output_path, kind, run.grid, overwrite)
    levelled = [_levelled(run, run_dir, faces)] if without_lattice else []
    for line in [*levelled, *_exported(run, output_path, kind, int8, base, faces, levelled)]:
        if say is not None:
            say(line)
    return output_path


def _levelled(run: TrainedRun, run_dir: Path, faces: Path | None) -> str:
    """Take the lattice out of the run's net; returns what there is to tell."""
    if not isinstance(run.net, CompactGFPGAN):
        raise ConfigError(f"{run_dir} is no run of a compact: only its head leaves a lattice")
    inputs = restorer_inputs(faces, run.faces, run.size, _CALIBRATION_FACES)
    share = remove_lattice(run.net, inputs)
    return f"lattice of rows and columns: {share:.0%} of its energy on {len(inputs)} faces taken out of the head"


def _exported(
    run: TrainedRun,
    output_path: Path,
    kind: Format,
    int8: bool,
    base: str | None,
    faces: Path | None,
    known: list[str],
) -> list[str]:
    """Write all files in a folder of their own, then give them their names; returns what there is to tell."""
    try:
        with tempfile.TemporaryDirectory(dir=output_path.parent, prefix=".export-") as folder:
            written = Path(folder) / output_path.name
            lines = _write(run, written, kind, int8, faces) if base is None else _write_difference(run, written, base)
            _publish(run, written, output_path, _form(kind, int8), [*known, *lines])
    except OSError as error:
        raise output_error(output_path, error) from error
    return lines


def _format(path: Path, wanted: Format | None) -> Format:
    found = FORMATS.get(path.suffix.lower())
    suffixes = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
    if found is None:
        raise ConfigError(f"{path}: the suffix tells the format, and {path.suffix or 'none'} is not one of {suffixes}")
    if wanted is not None and wanted != found:
        raise ConfigError(f"{path}: format {wanted} and the suffix {path.suffix} do not go together: {suffixes}")
    return found


def _form(kind: Format, int8: bool) -> str:
    forms = {
        "safetensors": "safetensors, float16",
        "onnx": "ONNX, float32 arithmetic",
        "openvino": f"OpenVINO IR, {'int8 by NNCF' if int8 else 'float16 weights'}",
        "difference": "difference (.npz), float16 when put together",
    }
    return forms[kind]


def _check_target(path: Path, kind: Format, grid: Path | None, overwrite: bool) -> None:
    files = [path, card_path(path)]
    if kind == "openvino":
        files.append(path.with_suffix(".bin"))
    picture = path.with_suffix(".png")
    if grid is not None and not (picture.is_file() and picture.read_bytes() == grid.read_bytes()):
        files.append(picture)
    for file in files:
        check_file(file, overwrite=overwrite)


def _write(run: TrainedRun, path: Path, kind: Format, int8: bool, faces: Path | None) -> list[str]:
    """Write the file and compare it with the network; returns what there is to tell."""
    if kind == "safetensors":
        _write_safetensors(run, path)
        return []
    about = _about(run)
    size_hw = None if run.is_detector else (run.size, run.size)
    if run.is_detector:
        inputs = detector_inputs(faces, run.faces, _CHECKED_FACES)
    else:
        inputs = [restorer_inputs(faces, run.faces, run.size, _CALIBRATION_FACES if int8 else _CHECKED_FACES)]
    calibration: Batch | None = None
    lines = []
    if int8:
        calibration, judged = split(inputs[0])
        inputs = [judged]
        lines.append(f"int8 calibrated on {len(calibration)} faces, every second of them degraded")
    if kind == "onnx":
        write_onnx(run.net, size_hw, path, about)
    else:
        write_openvino(run.net, size_hw, path, about, calibration)
    return [*lines, check_agreement(path, run.net, size_hw, inputs, int8=int8)]


def _write_difference(run: TrainedRun, path: Path, base: str) -> list[str]:
    whole = path.with_suffix(".safetensors")
    _write_safetensors(run, whole)
    sha256 = models.save_difference(path, whole, models.local_path(base))
    return [f"SHA-256 of the weights that it makes with {base}: {sha256}"]


def _write_safetensors(run: TrainedRun, path: Path) -> None:
    halves = half_precision(run.net)
    assert all(torch.isfinite(value).all() for value in halves.values())
    path.write_bytes(save(halves, metadata={"revisage": json.dumps(_about(run))}))


def _about(run: TrainedRun) -> dict[str, Any]:
    """What a file says of itself."""
    return {"arch": run.arch, "config": run.settings, **run.metadata}


def card_path(path: Path) -> Path:
    """NAME.md of the weights themselves, NAME.onnx.md and NAME.xml.md of what was made of them."""
    return path.with_suffix(".md" if path.suffix.lower() in (".safetensors", ".npz") else f"{path.suffix}.md")


def _publish(run: TrainedRun, written: Path, output_path: Path, form: str, lines: list[str]) -> None:
    """Card and picture first, the model itself last: where it is, all is there."""
    picture = output_path.with_suffix(".png")
    if run.grid is not None:
        shutil.copyfile(run.grid, written.with_suffix(".png"))
    card = model_card(run, output_path.stem, form, lines, picture.name if run.grid is not None else None)
    card_path(written).write_text(card, encoding="utf-8")
    companions = [written.with_suffix(".png"), card_path(written), written.with_suffix(".bin")]
    for file in [*(file for file in companions if file.is_file()), written]:
        file.replace(output_path.with_name(file.name))


Batch = NDArray[np.float32]
Size = tuple[int, int] | None

LARGEST_DIFFERENCE = 0.002
"""What an output may differ from torch's at most: of a restorer's range of 2 a quarter of a step of 8 bits."""


def write_onnx(net: nn.Module, size_hw: Size, path: Path, about: dict[str, Any]) -> None:
    """Write a network as ONNX (opset 17), any batch; any height and width without ``size_hw``.

    about: JSON for the metadata key "revisage".
    Raises:
        MissingExtraError: the package ``onnx`` is not there.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("export to ONNX", "export") from None
    example = torch.zeros((2, 3, *(size_hw or (128, 160))))
    free = {0: "n"} if size_hw else {0: "n", 2: "height", 3: "width"}
    with torch.no_grad():
        outputs = net(example)
    count = len(outputs) if isinstance(outputs, (tuple, list)) else 1
    names = ["output"] if count == 1 else [f"output{number}" for number in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks; the file is compared afterwards
        torch.onnx.export(
            _InputAlone(net),
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["faces"],
            output_names=names,
            dynamic_axes={"faces": free, **({name: {0: "n"} for name in names} if size_hw else {})},
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"revisage": json.dumps(about)})
    onnx.save(model, str(path))


class _InputAlone(nn.Module):
    """A net without its options for training: the exporter would hand their defaults on as further inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: torch.Tensor) -> Any:
        return self.net(faces)


def write_openvino(net: nn.Module, size_hw: Size, path: Path, about: dict[str, Any], calibration: Batch | None) -> None:
    """Write a network as OpenVINO's two files: ``path`` (.xml), and its weights beside it (.bin), float16.

    calibration: (N, 3, H, W) inputs to make an int8 network with; None leaves it in floating point. Raises
    MissingExtraError for int8 without NNCF.
    """
    model = convert(net, size_hw)
    if calibration is not None:
        model = quantise(model, calibration)
    model.set_rt_info(json.dumps(about), "revisage")
    load_openvino().save_model(model, str(path), compress_to_fp16=True)


def check_agreement(path: Path, net: nn.Module, size_hw: Size, batches: list[Batch], *, int8: bool) -> str:
    """Run a written file by OpenVINO on real inputs beside torch; returns a line about the agreement.

    Raises:
        ProcessingError: it differs by more than :data:`LARGEST_DIFFERENCE`, or in int8 by less than 40 dB.
    """
    engine = OpenVinoEngine(lambda: compile_model(_read(path), "fp32"), size_hw, "fp32")
    torch_engine = make_engine(net, size_hw, device="cpu", engine="torch", precision="fp32")
    pairs = [_outputs(batch, torch_engine, engine) for batch in batches]
    count = sum(len(batch) for batch in batches)
    if int8:
        wanted, found = (np.concatenate([pair[side][0] for pair in pairs]) for side in (0, 1))
        agreement = agreement_db(np.clip(wanted, -1, 1), np.clip(found, -1, 1))
        line = f"int8 against torch fp32 on {count} faces held out: {agreement:.1f} dB, {WANTED_DB:.0f} wanted"
        if not agreement >= WANTED_DB:
            raise ProcessingError(f"{path.name} was not written: {line}; calibrate on more faces, or leave int8 out")
        return line
    worst = max(_difference(wanted, found) for pair in pairs for wanted, found in zip(*pair, strict=True))
    allowed = f"at most {LARGEST_DIFFERENCE} allowed"
    line = f"against torch fp32 on {count} real pictures: largest difference {worst:.2g}, {allowed}"
    if not worst <= LARGEST_DIFFERENCE:
        raise ProcessingError(f"{path.name} was not written: {line}")
    return line


def _outputs(batch: Batch, *engines: Callable[[Batch], list[Batch]]) -> tuple[list[Batch], ...]:
    return tuple(engine(batch) for engine in engines)


def _difference(wanted: Batch, found: Batch) -> float:
    """The largest difference; of outputs beyond -1 to 1, such as a detector's scores, relative to the largest."""
    return float(np.abs(wanted - found).max() / max(1.0, float(np.abs(wanted).max())))


def _read(path: Path) -> openvino.Model:
    return core().read_model(str(path))


_WHAT = {
    "compact": "GFP-GAN's clean architecture, narrow (U-Net, one latent style, StyleGAN2 decoder, CS-SFT on half the "
    "channels), and a residual on the input",
    "gfpgan_clean": "GFP-GAN's clean architecture (U-Net, StyleGAN2 decoder, CS-SFT)",
    "compact-fine": "blocks of 4x4 px in the basis of a DCT, a U-Net of three levels, gates and a residual for each "
    "coefficient",
    "compact-detector": "a single-stage detector with five landmarks a face",
    "compact-reader": "a dense stem, MobileFaceNet's blocks, and a second branch for pose, landmarks, expression and "
    "visibility",
}


def model_card(run: TrainedRun, name: str, form: str, checks: Sequence[str], picture: str | None) -> str:
    """The card in Markdown.

    Args:
        name: of the model.
        form: of the file: its format and precision, in words.
        checks: lines on how the file was compared with the trained network.
        picture: file name of the sample grid beside the card.
    """
    parts = [f"# {name}", _purpose(run, form), _fenced("Network", run.settings), *_data(run), _recipe(run)]
    if run.measures:
        parts.append(_fenced("Measures of the run's own check", run.measures))
    if picture:
        parts.append(f"## Samples\n\nRows by turns: input, restored, source.\n\n![samples]({picture})")
    if checks:
        parts.append("\n".join(["## This file", "", *(f"* {line}" for line in checks)]))
    parts.append(f"## Use\n\n{_use(run)}")
    return "\n\n".join(parts) + "\n"


def _use(run: TrainedRun) -> str:
    if run.is_detector:
        return "Finds faces; it does not tell whose they are."
    if run.is_reader:
        return "Tells whether two pictures are alike in what it reads; it is no evidence of who or what anybody is."
    return "What a restorer adds is plausible, not evidence: not for identification. Ask the people shown."


def _job(run: TrainedRun) -> str:
    if run.is_detector:
        return "Finds faces"
    if run.is_reader:
        return f"Reads aligned faces, the window of ArcFace's template at {run.size} px"
    return f"Restores aligned faces (FFHQ frame) of {run.size} px"


def _purpose(run: TrainedRun, form: str) -> str:
    what = _WHAT.get(run.arch, "see the network below")
    return (
        f"{_job(run)}. Architecture `{run.arch}`: {what}. Input: (N, 3, H, W) float32 RGB in -1 to 1. "
        f"Weights: exponential moving average at step {run.step} (`{run.checkpoint}`). File: {form}."
    )


def _data(run: TrainedRun) -> list[str]:
    data = run.data
    if run.is_detector:
        return [_fenced("Data", {name: value for name, value in data.items() if value not in (None, "")})]
    digest = f", SHA-256 of the pixels `{data['sha256']}`" if data.get("sha256") else ""
    images = f"{data['images']} aligned faces{digest}" if "images" in data else "The run did not write down its data"
    weights = data.get("weights") or "all alike"
    return [
        "## Data",
        f"{images}; {data.get('skipped', 0)} files left out. How often an image is drawn, by file name, relative to 1: "
        f"{weights}.",
        _licence_table(data.get("licences") or {}),
    ]


def _licence_table(licences: dict[str, int]) -> str:
    rows = [f"| {_cell(name)} | {count} |" for name, count in sorted(licences.items(), key=lambda item: -item[1])]
    return "\n".join(["| licence, as the source states it | images |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _recipe(run: TrainedRun) -> str:
    seen = run.metadata.get("training", {}).get("images_seen")
    title = f"Recipe: {run.step} steps" + (f", {seen} images seen" if seen else "")
    revision = {"code": run.revision or "git revision not recorded"}
    return _fenced(title, {**run.recipe, **revision})


def _fenced(title: str, values: dict[str, Any]) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join([f"## {title}", "", "```", *lines, "```"])


def export_model(
    name: str,
    output_path: Path,
    *,
    shared: bool = False,
    int8: bool = False,
    faces: Path | None = None,
    overwrite: bool = True,
) -> list[Path]:
    """Write an embedded model as OpenVINO files, or as ONNX: the same bytes from the same weights and libraries.

    A detector's second stage is a file of its own, NAME.refine.xml or .onnx.

    Args:
        name: of an embedded model.
        output_path: an .xml, whose weights go into .bin beside it, or an .onnx.
        shared: OpenVINO files as the package holds them: weights that stand in the model's own file are left there,
            only the rest goes beside the .xml, into .constants.
        int8: the int8 form of a restorer, of OpenVINO; it agrees with torch to 40 dB on faces held out, or is refused.
        faces: folder of aligned faces to calibrate that with.
        overwrite: whether existing files are replaced.

    Returns:
        The .xml or .onnx files.

    Raises:
        ModelError: there is no such model.
        ConfigError: it is not an embedded one, the output is of another format, or int8 goes with nothing or without
            faces.
        InputError: there are no faces to calibrate with.
        OutputError: a file exists or cannot be written.
        MissingExtraError: ONNX without the extra ``export``.
        ProcessingError: an ONNX or int8 file does not agree with the network.
    """
    entry = models.find(name)
    if not entry.embedded:
        raise ConfigError(f"{name} does not ship with revisage: export a run of yours, or {_embedded()}")
    kind = _embedded_format(output_path, openvino=shared or int8)
    weights = models.verify(entry)
    known = models.metadata(weights.path)
    record = nets.architecture(entry.arch)
    is_fine = record.role == "fine restorer"
    if int8 and not is_fine and record.role != "face restorer":
        raise ConfigError(f"{name} is a {record.role}: int8 is for restorers; leave int8 out")
    if int8 and faces is None:
        raise ConfigError("int8 is calibrated on faces: name a folder of aligned ones with --faces")
    net = nets.build(entry.arch, known["config"])
    net.load_state_dict(models.load_state(weights.path))
    notes: dict[str, Any] = {
        "arch": entry.arch,
        "role": record.role,
        "config": known["config"],
        "bf16_agrees": record.bf16_agrees,
        "weights_sha256": weights.sha256,
        "licence": entry.licence,
        **({"threshold": known["threshold"]} if "threshold" in known else {}),
    }
    written = []
    for part, stage, size_hw in _stages(net, record.role, record.size(known["config"])):
        path = output_path.with_suffix(f".{part}{output_path.suffix}" if part else output_path.suffix)
        for file in (path, *([path.with_suffix(".bin")] if kind == "openvino" else [])):
            check_file(file, overwrite=overwrite)
        kernels = [value.detach().numpy() for value in stage.parameters()]
        if kind == "onnx":
            _write_checked_onnx(stage, size_hw, path, notes)
        elif int8:
            size = record.size(known["config"])
            inputs = (fine_inputs if is_fine else restorer_inputs)(faces, (), size, _CALIBRATION_FACES)
            calibration, judged = split(inputs)
            model = quantise(convert(stage, size_hw), calibration, keep_weights=shared, keep_ends=is_fine)
            write_model(model, path, notes, kernels)
            check_agreement(path, stage, size_hw, [judged], int8=True)
        else:
            write_model(convert(stage, size_hw), path, notes, kernels)
        if shared:
            share_weights(path, weights.path)
        written.append(path)
    return written


def _embedded_format(path: Path, *, openvino: bool) -> Format:
    kind = FORMATS.get(path.suffix.lower())
    if kind not in ("onnx", "openvino"):
        raise ConfigError(f"{path}: an embedded model is exported to OpenVINO or ONNX: name the output .xml or .onnx")
    if openvino and kind != "openvino":
        raise ConfigError("shared and int8 are for OpenVINO: name the output .xml")
    return kind


def _write_checked_onnx(stage: nn.Module, size_hw: Size, path: Path, notes: dict[str, Any]) -> None:
    """The file appears once it was compared with the network, on a picture of blotches: faces do not ship."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        written = Path(folder) / path.name
        write_onnx(stage.eval(), size_hw, written, notes)
        height, width = size_hw or (96, 128)
        blotches = np.random.default_rng(0).uniform(-1, 1, (3, height // 8, width // 8)).astype(np.float32)
        picture = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in blotches])
        check_agreement(written, stage, size_hw, [np.clip(picture, -1, 1)[None]], int8=False)
        written.replace(path)


def _stages(net: nn.Module, role: str, size: int) -> list[tuple[str, nn.Module, tuple[int, int] | None]]:
    """The networks in a model, each with its part's name and the only size that it sees."""
    if role == "fine restorer":
        return [("", nets.FineChange(net), None)]
    if size:
        return [("", net, (size, size))]
    return [("", net, None), ("refine", net.get_submodule("refine"), (nets.CROP, nets.CROP))]


def _embedded() -> str:
    return " or ".join(entry.name for entry in models.entries() if entry.embedded)
