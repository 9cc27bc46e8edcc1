"""From an address to workers, with a word about what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revisage.core import MissingExtraError, RestoreConfig

if TYPE_CHECKING:
    from revisage.cluster.runner import RayRunner

__all__ = ["connect"]


def connect(address: str, config: RestoreConfig) -> RayRunner:
    """The workers of a Ray cluster for a config: so many, and on GPUs, where it says so.

    Args:
        address: as for :class:`RayRunner`, which this makes and the caller closes.
        config: ``workers`` above 1 and ``device`` count.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no such cluster.
    """
    try:
        from revisage.cluster.runner import RayRunner
    except ModuleNotFoundError:
        raise MissingExtraError("A cluster", "cluster") from None
    gpus = None if config.device in ("auto", "mps") else config.device != "cpu"
    wanted = None if config.workers in ("auto", 1) else int(config.workers)
    return RayRunner(address, workers=wanted, gpus=gpus)
