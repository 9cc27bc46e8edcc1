"""Every error that revisage raises on purpose.

RevisageError                 something went wrong; exit code 1
├── UserError                 the request cannot be done as asked; exit code 2
│   ├── InputError            the input is missing, empty, unreadable, or holds nothing to work on
│   │   └── ScanMismatchError a scan file is damaged or belongs to another source
│   ├── OutputError           the output cannot or may not be written
│   │   ├── OutputExistsError the output is there already, and replacing it was not allowed
│   │   └── DiskFullError     no space is left for the output
│   ├── ConfigError           an option has a value that is not allowed
│   ├── ModelError            a model is unknown, absent or damaged
│   ├── DeviceError           the device asked for is not there
│   └── MissingExtraError     an optional dependency is not installed
├── ProcessingError           a step of the work itself failed
└── CancelledError            the user stopped the work; exit code 130

Each message is one line: what is wrong with which file, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "CancelledError",
    "ConfigError",
    "DeviceError",
    "DiskFullError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "OutputExistsError",
    "ProcessingError",
    "RevisageError",
    "ScanMismatchError",
    "UserError",
]


class RevisageError(Exception):
    """The root of all errors raised on purpose. ``exit_code`` is what the command line returns."""

    exit_code = 1


class UserError(RevisageError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class InputError(UserError):
    """The input is missing, empty, unreadable, or holds nothing to work on."""


class ScanMismatchError(InputError):
    """A scan file is damaged, or it was made from another source."""


class OutputError(UserError):
    """The output cannot be written where it was asked for, or may not be overwritten."""


class OutputExistsError(OutputError):
    """What is to be written is there already. The command line names its own option instead of ``overwrite=True``.

    Args:
        problem: what is there, as the start of a sentence.
        otherwise: what to do instead of replacing it, if there is something better than another name.
    """

    def __init__(self, problem: str, otherwise: str = "") -> None:
        self._problem, self._otherwise = problem, otherwise
        super().__init__(self.told("pass overwrite=True"))

    def told(self, remedy: str) -> str:
        """The message with the words that allow replacing where it is read."""
        return f"{self._problem}; {remedy} to replace it{self._otherwise and f', or {self._otherwise}'}"


class DiskFullError(OutputError):
    """No space is left on the device that holds the output."""


class ConfigError(UserError):
    """An option is unknown or has a value that is not allowed."""


class ModelError(UserError):
    """A model is unknown, not installed, truncated or not what its hash says."""


class DeviceError(UserError):
    """The device asked for is not available on this machine."""


class MissingExtraError(UserError):
    """A feature needs an optional dependency that is not installed.

    Args:
        feature: what the user asked for, as the start of a sentence.
        extra: the extra of the package that brings the dependency.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: run  pip install 'revisage[{extra}]'")
        self.extra = extra


class ProcessingError(RevisageError):
    """A step of the work failed although the request was sound."""


class CancelledError(RevisageError):
    """The user stopped the work. Nothing partial is left behind."""

    exit_code = 130
