from .batch import (
    JOURNAL,
    BatchEntry,
    BatchReport,
    FileRunner,
    Outcome,
    batch_files,
    read_list,
    run_batch,
    save_summary,
)
from .file_restoration import restore_file
from .image_restoration import restored_image
from .plan import LONGEST, place_weight
from .report import FileReport, Report, TrackLikeness, TrackSummary, detector_summary, machine
from .restoration import (
    Block,
    FrameInWork,
    Networks,
    PlannedFace,
    Tally,
    drop_networks,
    kept_networks,
    read_cells,
    restore_frames,
    scaled_face,
)
from .runners import JobNetworks, PartRunner, ProcessRunner, Runner, SerialRunner, plain_error
from .scan import Fingerprint, Scan, ScannedTrack, ScanSettings, fingerprint, load_scan
from .scan_job import PartFolder, ScanJob, ScanPart, scan_parts
from .scanner import scan_frames, scan_source, told_apart
from .segment_job import OnFrame, SegmentJob, SegmentResult, restore_segment
from .targets import check_side_folders, check_store
from .work_folder import notes_folder, told_where

__all__ = [
    "JOURNAL",
    "LONGEST",
    "BatchEntry",
    "BatchReport",
    "Block",
    "FileReport",
    "FileRunner",
    "Fingerprint",
    "FrameInWork",
    "JobNetworks",
    "Networks",
    "OnFrame",
    "Outcome",
    "PartFolder",
    "PartRunner",
    "PlannedFace",
    "ProcessRunner",
    "Report",
    "Runner",
    "Scan",
    "ScanJob",
    "ScanPart",
    "ScanSettings",
    "ScannedTrack",
    "SegmentJob",
    "SegmentResult",
    "SerialRunner",
    "Tally",
    "TrackLikeness",
    "TrackSummary",
    "batch_files",
    "check_side_folders",
    "check_store",
    "detector_summary",
    "drop_networks",
    "fingerprint",
    "kept_networks",
    "load_scan",
    "machine",
    "notes_folder",
    "place_weight",
    "plain_error",
    "read_cells",
    "read_list",
    "restore_file",
    "restore_frames",
    "restore_segment",
    "restored_image",
    "run_batch",
    "save_summary",
    "scaled_face",
    "scan_frames",
    "scan_parts",
    "scan_source",
    "told_apart",
    "told_where",
]
