from .collect import check_store
from .executor import restore_file
from .facework import scaled_face
from .fingerprint import fingerprint
from .networks import Networks
from .report import FileReport, Report
from .scan import Scan, ScannedTrack, load_scan
from .scanner import scan_frames, scan_source
from .side import check_side_folders
from .still import restored_image
from .summary import detector_summary, machine

__all__ = [
    "FileReport",
    "Networks",
    "Report",
    "Scan",
    "ScannedTrack",
    "check_side_folders",
    "check_store",
    "detector_summary",
    "fingerprint",
    "load_scan",
    "machine",
    "restore_file",
    "restored_image",
    "scaled_face",
    "scan_frames",
    "scan_source",
]
