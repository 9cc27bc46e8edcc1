from .aligned_crops import check_sheet, write_sheet
from .aligned_faces import AlignReport, align_files, make_align_options
from .damage import MANIFEST, degrade_files
from .gif_manifest import GifSet, make_gif_options
from .gif_set import make_gif_set, restore_gif_set
from .signs import Classification, classify
from .training_sets import DatasetReport, check_dataset, training_set_from_store

__all__ = [
    "MANIFEST",
    "AlignReport",
    "Classification",
    "DatasetReport",
    "GifSet",
    "align_files",
    "check_dataset",
    "check_sheet",
    "classify",
    "degrade_files",
    "make_align_options",
    "make_gif_options",
    "make_gif_set",
    "restore_gif_set",
    "training_set_from_store",
    "write_sheet",
]
