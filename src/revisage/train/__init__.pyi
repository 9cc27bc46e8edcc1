from .blur import motion_kernel
from .degradation import Degradation, Drawn, degrade_frames, find_preset, generator
from .degradation_base import REFERENCE_SIZE
from .detector import DetectorTrainConfig, train_detector
from .detector_refine import RefineTrainConfig, train_refiner
from .export import FORMATS, card_path, export_run
from .identity import Recogniser, load_recogniser
from .prior import PriorTrainConfig, train_prior
from .restorer import RestorerTrainConfig, train_restorer
from .sources import FaceSource, ListedImage, listed_images, read_image
from .status import read_status

__all__ = [
    "FORMATS",
    "REFERENCE_SIZE",
    "Degradation",
    "DetectorTrainConfig",
    "Drawn",
    "FaceSource",
    "ListedImage",
    "PriorTrainConfig",
    "Recogniser",
    "RefineTrainConfig",
    "RestorerTrainConfig",
    "card_path",
    "degrade_frames",
    "export_run",
    "find_preset",
    "generator",
    "listed_images",
    "load_recogniser",
    "motion_kernel",
    "read_image",
    "read_status",
    "train_detector",
    "train_prior",
    "train_refiner",
    "train_restorer",
]
