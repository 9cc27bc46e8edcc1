from .carrying import LastRestored, carried
from .flow import DisFlow, Flow, FlowEstimator, consistent, load_raft, warp
from .landmark_smoothing import LandmarkSmoother, smooth_track
from .recursion import Motion, Recursion, Sharpness, motions, onward_motion, reduced
from .spots import spot_changes

__all__ = [
    "DisFlow",
    "Flow",
    "FlowEstimator",
    "LandmarkSmoother",
    "LastRestored",
    "Motion",
    "Recursion",
    "Sharpness",
    "carried",
    "consistent",
    "load_raft",
    "motions",
    "onward_motion",
    "reduced",
    "smooth_track",
    "spot_changes",
    "warp",
]
