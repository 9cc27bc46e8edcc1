from .align import AlignReport, align_files, make_align_options
from .align_sheet import check_sheet, write_sheet
from .check import DatasetReport, check_dataset
from .classify import Classification, classify
from .degrade import MANIFEST, degrade_files
from .from_store import training_set_from_store
from .gif import make_gif_set, restore_gif_set
from .gif_manifest import GifSet, make_gif_options

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
