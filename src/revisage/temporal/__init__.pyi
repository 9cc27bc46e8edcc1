from .flow import DisFlow, Flow, FlowEstimator, consistent, warp
from .motion import Motion, motions, onward_motion, reduced
from .raft import load_raft
from .smooth import smooth_track
from .steady import Recursion, Sharpness

__all__ = [
    "DisFlow",
    "Flow",
    "FlowEstimator",
    "Motion",
    "Recursion",
    "Sharpness",
    "consistent",
    "load_raft",
    "motions",
    "onward_motion",
    "reduced",
    "smooth_track",
    "warp",
]
