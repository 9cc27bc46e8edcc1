from .capture import Capture, Captured, Place, camera_names, find_place
from .live_frames import LiveFrame, LiveSession
from .live_restorer import LiveRestorer, check_config
from .mjpeg_server import MjpegServer
from .pace import LATENCY, Clock, Latencies, Pace, StreamTally, SystemClock
from .pipes import PipeSink, PipeSource, pipe_ending, restore_frames_of_pipe, send_file
from .showing import Action, Display, View, figures, show_session, split_view
from .stream_writer import PIPE_FORMATS, Recording, StreamWriter
from .virtual_camera import VirtualCamera
from .window import Window

__all__ = [
    "LATENCY",
    "PIPE_FORMATS",
    "Action",
    "Capture",
    "Captured",
    "Clock",
    "Display",
    "Latencies",
    "LiveFrame",
    "LiveRestorer",
    "LiveSession",
    "MjpegServer",
    "Pace",
    "PipeSink",
    "PipeSource",
    "Place",
    "Recording",
    "StreamTally",
    "StreamWriter",
    "SystemClock",
    "View",
    "VirtualCamera",
    "Window",
    "camera_names",
    "check_config",
    "figures",
    "find_place",
    "pipe_ending",
    "restore_frames_of_pipe",
    "send_file",
    "show_session",
    "split_view",
]
