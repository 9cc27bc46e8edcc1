"""The networks of a run, each loaded once, when it is first needed."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import engines, faces, people, readers, restorers, temporal
from revisage.core import EMBEDDED_RESTORERS, ConfigError, Crop, RestoreConfig, UserError

if TYPE_CHECKING:
    from revisage.faces import FaceDetector
    from revisage.people import KnownPerson, Reference
    from revisage.readers import FaceReader, Recogniser
    from revisage.restorers import FaceRestorer, FineRestorer, Upscaler
    from revisage.temporal import FlowEstimator

__all__ = ["Networks", "drop_networks", "kept_networks"]


_SHARED = frozenset({"_fine", "detector", "flow", "guide_flow", "recogniser", "restorer", "upscaler"})
"""What two sets of networks with the same settings hold in common once it is loaded."""

_DECIDING = {
    "detector": {"detector", "detection_threshold", "device", "engine", "precision"},
    "recogniser": {"reader", "device", "engine"},
    "_fine": {"device", "engine", "precision"},
}
"""What sets with other settings can hold in common, and the settings that decide about it. The restorer is not of
these: its file may have changed."""


_QUICK = 256
"""Crops up to this size (px) take a network less time than being compiled and getting ready for them does."""


class Networks:
    """Detector, restorer and upscaler as a config asks for them.

    Args:
        config: names, device, engine and precision are taken from here.
        calibration: ``(N, size, size, 3) uint8 RGB`` crops of the footage, which an int8 restorer is made with.

    Each raises on its first use:
        ModelError: the model is unknown, absent or damaged.
        DeviceError: the device asked for is not there.
    """

    def __init__(self, config: RestoreConfig, calibration: Crop | None = None) -> None:
        self.config = config
        self.calibration = calibration
        self._is_prepared = False

    @cached_property
    def detector(self) -> FaceDetector:
        """Finds faces."""
        return faces.load_detector(self.config.detector, **self._place, threshold=self.config.detection_threshold)

    @cached_property
    def restorer(self) -> FaceRestorer:
        """Restores crops."""
        config = self.config
        return restorers.load_restorer(
            config.restorer,
            device=config.device,
            engine=config.engine,
            precision=config.precision,
            calibration=self.calibration,
            settings=config.net_settings,
        )

    @property
    def fine(self) -> FineRestorer | None:
        """Restores what is finer than crops; None where that is kept."""
        return None if self.config.fine == "keep" else self._fine

    @property
    def uses_detail(self) -> bool:
        """Whether it matters how fine a large face is, and how clean a small one: measured on the embedded restorer,
        whichever its look; whoever chooses another one wants all of its work."""
        return self.config.fine != "keep" and self.config.restorer in EMBEDDED_RESTORERS.values()

    @property
    def denoiser(self) -> FineRestorer | None:
        """Takes noise and blocks off whole frames; None where they are left. It is the network of fine detail."""
        return self._fine if self.config.denoise > 0 else None

    @cached_property
    def _fine(self) -> FineRestorer:
        return restorers.load_fine_restorer(**self._place)

    @cached_property
    def upscaler(self) -> Upscaler | None:
        """Enlarges the background; None where that is left to Lanczos."""
        if self.config.background in ("none", "lanczos"):
            return None
        return restorers.load_upscaler(self.config.background, tile=self.config.tile, **self._place)

    @cached_property
    def recogniser(self) -> Recogniser:
        """Tells people apart."""
        return readers.load_recogniser(self.config.reader, device=self.config.device, engine=self.config.engine)

    @cached_property
    def likeness_reader(self) -> Recogniser | None:
        """Compares restored faces with what they were; None where that cannot be loaded: restoring needs none of it."""
        if not readers.is_reader_there(self.config.reader):
            return None
        try:
            return self.recogniser
        except UserError:
            return None

    @property
    def cover_reader(self) -> FaceReader | None:
        """Says what is before faces; None where the network of ``reader`` does not, or is not on this machine."""
        return None if self.likeness_reader is None else self.likeness_reader.reader

    @cached_property
    def known_people(self) -> list[KnownPerson]:
        """Those whose photos are given.

        Raises:
            ConfigError, InputError: it is not clear who is who.
        """
        photos = people.photos_by_name(self.config.who)
        return people.read_people(photos, self.detector, self.recogniser) if photos else []

    @cached_property
    def references(self) -> list[Reference]:
        """The guide photos.

        Raises:
            ConfigError, InputError: one of them cannot be used.
        """
        photos = self.config.reference
        if not photos:
            return []
        return people.read_references(photos, self.detector, self.recogniser, self.uncalibrated.restorer.size)

    @property
    def landmark_reader(self) -> FaceReader:
        """Reads the dense landmarks of faces that have a guide.

        Raises:
            ConfigError: the reader that is named tells people apart only.
        """
        if self.recogniser.reader is None:
            raise ConfigError(f"{self.recogniser.name} reads no landmarks, which guides are bent by")
        return self.recogniser.reader

    @property
    def guide_size(self) -> int:
        """Side of the crops of guide frames (px).

        Raises:
            ConfigError: see :attr:`landmark_reader`.
        """
        _ = self.landmark_reader
        return self.uncalibrated.restorer.size

    @cached_property
    def guide_flow(self) -> FlowEstimator:
        """Finds what still lies between a face and a guide that was bent by landmarks."""
        return temporal.DisFlow()

    @cached_property
    def flow(self) -> FlowEstimator:
        """Finds the motion of faces."""
        if self.config.temporal == "raft":
            return temporal.load_raft(self.config.device)
        return temporal.DisFlow("fast")

    @property
    def _place(self) -> dict[str, str]:
        """Where networks run; int8 concerns the restorer alone."""
        config = self.config
        precision = "auto" if config.precision == "int8" else config.precision
        return {"device": config.device, "engine": config.engine, "precision": precision}

    @cached_property
    def calibrates(self) -> bool:
        """Whether the restorer is to be made for the footage: in int8, and it does not ship so."""
        return self.config.precision == "int8" and not restorers.ships_int8(self.config.restorer)

    @cached_property
    def uncalibrated(self) -> Networks:
        """These networks as far as they can be made before the footage is known: int8 is left to ``auto``."""
        if not self.calibrates:
            return self
        return Networks(self.config.model_copy(update={"precision": "auto"}))

    def knowing(self, who: tuple[str, ...], reference: tuple[Path, ...] = ()) -> Networks:
        """These networks, and the people whose photos are given: what stays loaded from run to run knows nobody."""
        if (who, reference) == (self.config.who, self.config.reference):
            return self
        other = Networks(self.config.model_copy(update={"who": who, "reference": reference}), self.calibration)
        if who or reference:
            _ = self.detector, self.recogniser
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name in _SHARED})
        return other

    def take_over(self, other: Networks) -> None:
        """Hold what another set has loaded already, as far as the settings that decide about it are the same here."""
        for name, settings in _DECIDING.items():
            same = self.config.model_dump(include=settings) == other.config.model_dump(include=settings)
            if same and name in other.__dict__:
                self.__dict__[name] = other.__dict__[name]

    def calibrated(self, crops: Crop) -> Networks:
        """These networks with a restorer in int8, made for the footage that ``crops`` were cut from."""
        other = Networks(self.config, crops)
        for name in (_SHARED - {"restorer"} | {"known_people", "references"}) & self.__dict__.keys():
            other.__dict__[name] = self.__dict__[name]
        return other

    def load(self) -> None:
        """Load what can be loaded now, so that a model that is not there is known before the work begins.

        The embedded network of fine detail is always there: it is loaded for the first face that is large enough.

        Raises:
            ConfigError: the settings of device, engine and precision do not go together.
        """
        engines.resolve(self.config.device, self.config.engine, self.config.precision)
        _ = self.upscaler, self.denoiser, self.uncalibrated.restorer, self.known_people, self.references
        if self.config.reader != readers.READER:
            _ = self.recogniser
        if self.config.temporal == "raft":
            _ = self.flow

    def prepare(self) -> None:
        """Make restorer and reader ready for crops, in a thread, the first time that this is asked for.

        Compiling them, and what their first crops cost beside a run of their own, takes longer than scanning a second
        of film, which leaves cores idle. What fails there fails again, and is told, where a face is restored.
        """
        if self._is_prepared or self.calibrates:
            return
        self._is_prepared = True
        # No daemon: a process that ends in the middle of a network's run may crash.
        threading.Thread(target=_run_all, args=(self._first_runs(),), name="revisage-prepare").start()

    def _first_runs(self) -> list[Callable[[], object]]:
        """What runs each on a crop. They are loaded here: two threads might load one twice."""
        empty: Crop = np.zeros((1, self.restorer.size, self.restorer.size, 3), np.uint8)
        runs: list[Callable[[], object]] = [partial(self.restorer, empty)] if self.restorer.size <= _QUICK else []
        reader = self.cover_reader if self.config.hidden == "spare" else None
        return runs if reader is None else [*runs, partial(reader, empty)]

    @property
    def notes(self) -> list[str]:
        """What the restorer's engine did differently from what was asked."""
        return list(getattr(self.__dict__.get("restorer"), "notes", ()))

    def hashes(self) -> dict[str, Any]:
        """What the result depends on: weights, engine, precision and device of each network."""
        config, restorer = self.config, self.uncalibrated.restorer.info
        return {
            "restorer": [restorer.sha256, restorer.engine, restorer.precision, restorer.device],
            "calibrated": self.calibrates,
            "fine": restorers.fine_weights_hash() if config.fine != "keep" or config.denoise > 0 else None,
            "upscaler": None if self.upscaler is None else self.upscaler.info.sha256,
            "reader": readers.weights_hash(config.reader) if config.hidden == "spare" else None,
            "people": [[known.name, known.identity.tobytes().hex()] for known in self.known_people],
            "references": [sha256(each.guide.crop.tobytes()).hexdigest() for each in self.references],
        }


def _run_all(runs: Sequence[Callable[[], object]]) -> None:
    for run in runs:
        with contextlib.suppress(Exception):
            run()


_KEPT = 4
"""Sets of networks that stay loaded between calls: who goes through settings holds no more than these in memory."""
_kept: OrderedDict[str, Networks] = OrderedDict()
_keeping = threading.Lock()


def kept_networks(config: RestoreConfig) -> Networks:
    """The networks that a config asks for, loaded once for all calls with the same settings, from any thread.

    Those of the last few settings stay loaded; see :func:`drop_networks`. A model file that has changed is loaded anew.
    """
    model = Path(config.model)
    state = model.stat() if model.is_file() else None
    key = json.dumps([config.about("networks"), state and [state.st_mtime_ns, state.st_size]], sort_keys=True)
    with _keeping:
        networks = _kept.pop(key, None)
        if networks is None:
            networks = Networks(config.model_copy(update={"who": (), "reference": ()}))
            for other in _kept.values():
                networks.take_over(other)
        _kept[key] = networks
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return networks.knowing(config.who, config.reference)


def drop_networks() -> None:
    """Let go of the networks that stay loaded between calls; the next call loads its own again."""
    with _keeping:
        _kept.clear()
