"""int8 by post-training quantisation (NNCF), calibrated on real inputs and accepted only where it agrees with fp32.

Where do the inputs come from? From the footage itself: the caller hands in the first crops of the run, in the order of
the scan, so that the result does not depend on how many workers share it. No image set is bundled for this: range
statistics of other pictures would be a guess.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from revisage.core import ConfigError, MissingExtraError, ProcessingError

if TYPE_CHECKING:
    import openvino

__all__ = ["MINIMUM_CROPS", "WANTED_CROPS", "WANTED_DB", "agreement_db", "check_agreement", "quantise", "split"]

FloatArray = npt.NDArray[np.float32]

WANTED_DB = 40.0  # below it the rounding shows in smooth skin
WANTED_CROPS = 24
MINIMUM_CROPS = 4


def split(crops: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inputs to calibrate on, and every fourth held out to judge by.

    Raises ConfigError for fewer than `MINIMUM_CROPS`.
    """
    if len(crops) < MINIMUM_CROPS:
        raise ConfigError(
            f"precision int8 needs at least {MINIMUM_CROPS} faces to calibrate on and got {len(crops)}: "
            "choose fp32 or bf16"
        )
    held_out = np.arange(len(crops)) % 4 == 3
    return crops[~held_out], crops[held_out]


def quantise(model: openvino.Model, crops: FloatArray) -> openvino.Model:
    """The int8 form of a converted network; the fp32 one is left as it is.

    model: an OpenVINO model with one input. crops: (N, 3, H, W) float32 inputs whose ranges are representative.

    Raises MissingExtraError without NNCF.
    """
    with _quiet_nncf() as nncf:
        dataset = nncf.Dataset([crops[i : i + 1] for i in range(len(crops))])
        # MIXED: asymmetric activations, for leaky ReLUs and residuals that go both ways from zero.
        return nncf.quantize(model, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=len(crops))


def agreement_db(reference: FloatArray, other: FloatArray, span: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB of two outputs whose full range is ``span``; infinite when equal."""
    error = float(np.mean(np.square(reference.astype(np.float64) - other)))
    return float("inf") if error == 0 else 10 * float(np.log10(span**2 / error))


def check_agreement(reference: FloatArray, quantised: FloatArray) -> None:
    """Raise ProcessingError when int8 outputs agree with the fp32 ones to less than `WANTED_DB`."""
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
    from revisage.engines.openvino_runtime import without_telemetry

    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    with warnings.catch_warnings(), without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            import nncf
        except ImportError:
            raise MissingExtraError("precision int8", "export") from None
        nncf.set_log_level(logging.ERROR)  # its import sets the level anew
        yield nncf
