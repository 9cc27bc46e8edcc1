"""Int8 by post-training quantisation (NNCF), calibrated on real inputs and taken only where it agrees with fp32."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage.core import ConfigError, MissingExtraError, ProcessingError
from revisage.engines.engine import FloatArray
from revisage.engines.openvino_package import without_telemetry

if TYPE_CHECKING:
    import openvino

__all__ = [
    "MINIMUM_CROPS",
    "WANTED_CROPS",
    "WANTED_DB",
    "agreement_db",
    "check_agreement",
    "is_quantised",
    "quantise",
    "split",
]

WANTED_DB = 40.0
"""Agreement of int8 with fp32; below it the rounding shows in smooth skin."""
WANTED_CROPS = 24
MINIMUM_CROPS = 4
"""Crops that a run hands in to calibrate on, and the fewest that will do: one of four is held out to judge by."""


def split(crops: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inputs to calibrate on, and every fourth held out to judge by.

    Raises:
        ConfigError: fewer than `MINIMUM_CROPS`.
    """
    if len(crops) < MINIMUM_CROPS:
        raise ConfigError(
            f"precision int8 needs at least {MINIMUM_CROPS} faces to calibrate on and got {len(crops)}: "
            "choose fp32 or bf16"
        )
    held_out = np.arange(len(crops)) % 4 == 3
    return crops[~held_out], crops[held_out]


def quantise(
    model: openvino.Model, crops: FloatArray, *, keep_weights: bool = False, keep_ends: bool = False
) -> openvino.Model:
    """The int8 form of a converted network; the fp32 one is left as it is.

    Convolutions and what they take are rounded, and nothing else. Left to itself NNCF also rounds a GFP-GAN's styles
    and the sums that normalise by them: next to no work, but of strongly damaged faces `compact` agreed with fp32 to
    41 dB, so to 49.

    Args:
        model: an OpenVINO model with one input.
        crops: (N, 3, H, W) float32 inputs whose ranges are representative.
        keep_weights: leave them as they are, to be rounded when the network is loaded; else they are stored in int8.
        keep_ends: leave the convolutions with no activation before them or none behind them in floating point: a
            network that says a small change reads a picture finer than int8 can say it.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    with _quiet_nncf() as nncf:
        dataset = nncf.Dataset([crops[i : i + 1] for i in range(len(crops))])
        kinds = {node.get_type_name() for node in model.get_ops()} - {"Convolution", "Constant", "Parameter", "Result"}
        names = {*_modulated(model), *(_ends(model) if keep_ends else ())}
        left = nncf.IgnoredScope(names=sorted(names), types=sorted(kinds), validate=False)
        more = nncf.AdvancedQuantizationParameters(backend_params={"compress_weights": not keep_weights})
        # MIXED: asymmetric activations, for leaky ReLUs and residuals that go both ways from zero.
        preset = nncf.QuantizationPreset.MIXED
        size = len(crops)
        return nncf.quantize(
            model, dataset, preset=preset, subset_size=size, ignored_scope=left, advanced_parameters=more
        )


def is_quantised(model: openvino.Model) -> bool:
    """Whether a network is in an int8 form."""
    return any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())


def _ends(model: openvino.Model) -> set[str]:
    """Convolutions of the network's input by sums alone, and those whose outputs go into its own by sums alone."""
    nodes = model.get_ordered_ops()
    bent, read = set(), set()
    for node in nodes:
        before = [node.input_value(port).get_node().get_friendly_name() for port in range(node.get_input_size())]
        if node.get_type_name() == "PRelu" or any(name in bent for name in before):
            bent.add(node.get_friendly_name())
    for node in reversed(nodes):
        behind = [port.get_node() for output in node.outputs() for port in output.get_target_inputs()]
        if any(one.get_type_name() == "PRelu" or one.get_friendly_name() in read for one in behind):
            read.add(node.get_friendly_name())
    convolutions = {node.get_friendly_name() for node in nodes if node.get_type_name() == "Convolution"}
    return convolutions - (bent & read)


def _modulated(model: openvino.Model) -> list[str]:
    """Convolutions that take a product: each channel has another range there, by the style of the face."""
    convolutions = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    taken = {node.get_friendly_name(): node.input_value(0).get_node().get_type_name() for node in convolutions}
    return sorted(name for name, source in taken.items() if source == "Multiply")


def agreement_db(reference: FloatArray, other: FloatArray, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB of two outputs whose full range is ``span``; infinite when equal."""
    error = float(np.mean(np.square(reference.astype(np.float64) - other)))
    return float("inf") if error == 0 else 10 * float(np.log10(span**2 / error))


def check_agreement(reference: FloatArray, quantised: FloatArray) -> None:
    """Refuse int8 outputs that agree with the fp32 ones to less than `WANTED_DB`.

    Raises:
        ProcessingError: they do.
    """
    found = agreement_db(np.clip(reference, -1, 1), np.clip(quantised, -1, 1))
    if not found >= WANTED_DB:
        raise ProcessingError(
            f"int8 agrees with fp32 to {found:.1f} dB on this footage and {WANTED_DB:.0f} dB are wanted: "
            "choose precision bf16 or fp32"
        )


@contextlib.contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF, imported without its telemetry; its logging, progress bars and warnings are kept away.

    Its progress bars go to standard output, which belongs to the program's own result (``--json``).
    """
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    with warnings.catch_warnings(), without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            import nncf
        except ImportError:
            raise MissingExtraError("precision int8", "export") from None
        # Its import sets the level anew; its own function would quieten everybody's handlers that listen to it.
        loggers[0].setLevel(logging.ERROR)
        yield nncf
