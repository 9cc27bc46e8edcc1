"""The crops that an int8 network is made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from revisage.core import CancelToken, RestoreConfig, make_config
from revisage.pipeline import Networks, fingerprint, scan_source
from revisage.pipeline.calibration import calibration_crops
from revisage.pipeline.plan import make_plan


def test_crops_are_cut_as_the_run_cuts_them_whatever_the_networks_were_loaded_for(
    face_clip: Path, tiny_model: Path
) -> None:
    config = make_config(model=str(tiny_model), aligned=True)
    scan = scan_source(face_clip, fingerprint(face_clip), config, Networks(config))

    def crops(networks_for: RestoreConfig) -> np.ndarray:
        networks = Networks(networks_for)
        found = calibration_crops(face_clip, scan, make_plan(scan, config), config, networks, CancelToken())
        assert found is not None
        return found

    assert np.array_equal(crops(make_config(config.about("networks"))), crops(config))


def test_only_a_restorer_that_does_not_ship_in_int8_is_made_for_the_footage(tiny_model: Path) -> None:
    assert not Networks(make_config(precision="int8")).calibrates
    assert Networks(make_config(precision="int8", model=str(tiny_model))).calibrates
    assert not Networks(make_config(model=str(tiny_model))).calibrates
