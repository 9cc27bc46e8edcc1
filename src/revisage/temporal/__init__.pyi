from .carrying import LastRestored, carried
from .cells import mixed_cells, moved_cells
from .flow import DisFlow, Flow, FlowEstimator, consistent, load_raft, warp
from .landmark_smoothing import LandmarkSmoother, smooth_track
from .recursion import INPUT_SHARE, RESTORED_SHARE, Motion, Recursion, Sharpness, motions, onward_motion, reduced
from .spots import spot_changes

__all__ = [
    "INPUT_SHARE",
    "RESTORED_SHARE",
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
    "mixed_cells",
    "motions",
    "moved_cells",
    "onward_motion",
    "reduced",
    "smooth_track",
    "spot_changes",
    "warp",
]
