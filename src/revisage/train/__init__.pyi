from .degrade import (
    REFERENCE_SIZE,
    Degradation,
    Drawn,
    degrade_frames,
    find_preset,
    generator,
    motion_kernel,
)
from .detector import train_detector, train_lying, train_refiner
from .export import FORMATS, card_path, export_model, export_run
from .images import FaceSource, ListedImage, listed_images, read_image
from .prior import train_prior
from .readers import train_cover, train_reader
from .restorer import Recogniser, load_recogniser, train_restorer
from .run_record import read_status
from .settings import (
    CoverTrainConfig,
    DetectorTrainConfig,
    LyingTrainConfig,
    PriorTrainConfig,
    ReaderTrainConfig,
    RefineTrainConfig,
    RestorerTrainConfig,
)

__all__ = [
    "FORMATS",
    "REFERENCE_SIZE",
    "CoverTrainConfig",
    "Degradation",
    "DetectorTrainConfig",
    "Drawn",
    "FaceSource",
    "ListedImage",
    "LyingTrainConfig",
    "PriorTrainConfig",
    "ReaderTrainConfig",
    "Recogniser",
    "RefineTrainConfig",
    "RestorerTrainConfig",
    "card_path",
    "degrade_frames",
    "export_model",
    "export_run",
    "find_preset",
    "generator",
    "listed_images",
    "load_recogniser",
    "motion_kernel",
    "read_image",
    "read_status",
    "train_cover",
    "train_detector",
    "train_lying",
    "train_prior",
    "train_reader",
    "train_refiner",
    "train_restorer",
]
