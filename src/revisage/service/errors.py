"""What the job store refuses."""

from __future__ import annotations

from revisage.core import ConfigError, OutputError, UserError

__all__ = [
    "BusyError",
    "NotFoundError",
    "QuotaError",
    "ReusedKeyError",
    "StillAtWorkError",
    "TooLargeError",
]


class NotFoundError(UserError):
    """There is no such job or file in the store (any more)."""


class BusyError(UserError):
    """As many jobs as allowed are queued or running."""


class QuotaError(OutputError):
    """Uploads and results take as much space as they may."""


class StillAtWorkError(UserError):
    """The job is not finished."""


class ReusedKeyError(UserError):
    """An idempotency key came again with another request."""

    code = "reused_key"


class TooLargeError(ConfigError):
    """An upload is larger, or a medium longer or wider, than the service allows."""
