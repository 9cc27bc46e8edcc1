from .choice import Choice, resolve
from .cpu import CpuInfo, cpu_info
from .engine import Engine, make_engine
from .openvino_engine import OpenVinoEngine
from .openvino_runtime import compile_model, convert, core, load_openvino
from .quantise import MINIMUM_CROPS, WANTED_CROPS, WANTED_DB, agreement_db, quantise, split

__all__ = [
    "MINIMUM_CROPS",
    "WANTED_CROPS",
    "WANTED_DB",
    "Choice",
    "CpuInfo",
    "Engine",
    "OpenVinoEngine",
    "agreement_db",
    "compile_model",
    "convert",
    "core",
    "cpu_info",
    "load_openvino",
    "make_engine",
    "quantise",
    "resolve",
    "split",
]
