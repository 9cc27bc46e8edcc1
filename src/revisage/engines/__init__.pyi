from .choice import Choice, make_engine, resolve
from .engine import Engine
from .openvino_engine import (
    MINIMUM_CROPS,
    WANTED_CROPS,
    WANTED_DB,
    OpenVinoEngine,
    agreement_db,
    compile_model,
    convert,
    core,
    load_openvino,
    model_notes,
    quantise,
    read_model,
    share_weights,
    split,
    write_model,
)
from .processor import CpuInfo, cpu_info

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
    "model_notes",
    "quantise",
    "read_model",
    "resolve",
    "share_weights",
    "split",
    "write_model",
]
