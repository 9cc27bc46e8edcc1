from .capture import Capture, Captured, Place, camera_names, find_place
from .live_frames import LiveFrame, LiveSession
from .live_restorer import LATENCY, LiveRestorer, check_config
from .pace import Clock, Latencies, Pace, StreamTally, SystemClock

__all__ = [
    "LATENCY",
    "Capture",
    "Captured",
    "Clock",
    "Latencies",
    "LiveFrame",
    "LiveRestorer",
    "LiveSession",
    "Pace",
    "Place",
    "StreamTally",
    "SystemClock",
    "camera_names",
    "check_config",
    "find_place",
]
