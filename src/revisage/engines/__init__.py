"""Engines: what runs a network, and how this machine's best choice is found.

Importing this room loads neither torch nor openvino; the first engine made does.
"""

from __future__ import annotations

from revisage.engines.choice import Choice, resolve
from revisage.engines.cpu import CpuInfo, cpu_info
from revisage.engines.engine import Engine, make_engine

__all__ = ["Choice", "CpuInfo", "Engine", "cpu_info", "make_engine", "resolve"]
