"""From a model's weights to the OpenVINO files that ship beside them, by which they run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from revisage import models, nets
from revisage.core import ConfigError, check_file
from revisage.engines import convert, write_model

__all__ = ["export_model"]


def export_model(name: str, output_path: Path, *, overwrite: bool = True) -> list[Path]:
    """Write an embedded model as OpenVINO files: the same bytes from the same weights and the same OpenVINO.

    A detector's second stage is a file of its own, NAME.refine.xml.

    Args:
        name: of an embedded model.
        output_path: an .xml; the weights go into .bin beside it.
        overwrite: whether existing files are replaced.

    Returns:
        The .xml files.

    Raises:
        ModelError: there is no such model.
        ConfigError: it is not an embedded one, or the output is no .xml.
        OutputError: a file exists or cannot be written.
    """
    entry = models.find(name)
    if not entry.embedded:
        raise ConfigError(f"{name} does not ship with revisage: export a run of yours, or {_embedded()}")
    if output_path.suffix.lower() != ".xml":
        raise ConfigError(f"{output_path}: an embedded model is exported to OpenVINO: name the output .xml")
    weights = models.verify(entry)
    known = models.metadata(weights.path)
    record = nets.architecture(entry.arch)
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
        path = output_path.with_suffix(f".{part}.xml" if part else ".xml")
        for file in (path, path.with_suffix(".bin")):
            check_file(file, overwrite=overwrite)
        write_model(convert(stage, size_hw), path, notes)
        written.append(path)
    return written


def _stages(net: nn.Module, role: str, size: int) -> list[tuple[str, nn.Module, tuple[int, int] | None]]:
    """The networks in a model, each with its part's name and the only size that it sees."""
    if role == "fine restorer":
        return [("", net, None)]
    if size:
        return [("", net, (size, size))]
    return [("", net, None), ("refine", net.get_submodule("refine"), (nets.CROP, nets.CROP))]


def _embedded() -> str:
    return " or ".join(entry.name for entry in models.entries() if entry.embedded)
