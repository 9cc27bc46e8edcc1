from .averaging import average_inputs, average_restored
from .colour_balance import ColourSpread, colour_levels
from .covering import read_cells
from .frame_restoration import FaceWork, Planner, QualitySums, Tally, restore_frames, scaled_face
from .frame_stages import (
    Block,
    FrameInWork,
    PlannedFace,
    StageClock,
    StageThreads,
    align_faces,
    frames_ahead,
    plan_frames,
    restore_faces,
    show_faces,
)
from .likeness import Likeness, LikenessSums
from .preparation import Preparation
from .run_networks import Networks, drop_networks, kept_networks
from .trace import Trace

__all__ = [
    "Block",
    "ColourSpread",
    "FaceWork",
    "FrameInWork",
    "Likeness",
    "LikenessSums",
    "Networks",
    "PlannedFace",
    "Planner",
    "Preparation",
    "QualitySums",
    "StageClock",
    "StageThreads",
    "Tally",
    "Trace",
    "align_faces",
    "average_inputs",
    "average_restored",
    "colour_levels",
    "drop_networks",
    "frames_ahead",
    "kept_networks",
    "plan_frames",
    "read_cells",
    "restore_faces",
    "restore_frames",
    "scaled_face",
    "show_faces",
]
