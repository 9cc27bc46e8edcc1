from .choice import Choice, cuda_devices, make_engine, resolve
from .engine import Engine
from .openvino_engine import OpenVinoEngine, compile_model, convert
from .openvino_files import ShippedNetwork, model_files, model_notes, read_model, share_weights, write_model
from .openvino_package import core, load_openvino
from .processor import CpuInfo, cpu_info
from .quantisation import MINIMUM_CROPS, WANTED_CROPS, WANTED_DB, agreement_db, is_quantised, quantise, split

__all__ = [
    "MINIMUM_CROPS",
    "WANTED_CROPS",
    "WANTED_DB",
    "Choice",
    "CpuInfo",
    "Engine",
    "OpenVinoEngine",
    "ShippedNetwork",
    "agreement_db",
    "compile_model",
    "convert",
    "core",
    "cpu_info",
    "cuda_devices",
    "is_quantised",
    "load_openvino",
    "make_engine",
    "model_files",
    "model_notes",
    "quantise",
    "read_model",
    "resolve",
    "share_weights",
    "split",
    "write_model",
]
