"""What a label says: which software changed how many faces by which network, in words and in JSON."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Statement"]

_MARK = "revisage:"
"""Stands before the JSON of a statement, so that it is found among other people's words."""


class Statement(BaseModel):
    """What was done to the faces of a file. No time and no place: equal runs give equal files."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    software: str = Field(max_length=100, description="and its version")
    model: str = Field(max_length=255, description="the restorer's name")
    sha256: str = Field(max_length=64, description="of its weights")
    strength: float = Field(ge=0, le=1)
    frames: int = Field(ge=1, description="that were changed")
    faces: int = Field(ge=1, description="that were restored in them")

    def __str__(self) -> str:
        """One sentence for people."""
        many = "1 face was" if self.faces == 1 else f"{self.faces} faces were"
        return (
            f"{many} restored with {self.software} by {self.model}, strength {self.strength:g}: "
            "what they show is an estimate"
        )

    def to_text(self) -> str:
        """The sentence, and the same for programs behind it."""
        return f"{self} {self.marked(json.dumps(self.model_dump(), separators=(',', ':')))}"

    @staticmethod
    def marked(values: str) -> str:
        """A statement's JSON as :meth:`all_in` finds it."""
        return f"{_MARK}{values}"

    @classmethod
    def all_in(cls, text: str) -> list[Statement]:
        """The statements in any text, in their order; what only looks like one is passed over."""
        found = (cls._at_the_start(part) for part in text.split(_MARK)[1:])
        return [statement for statement in found if statement is not None]

    @classmethod
    def _at_the_start(cls, text: str) -> Statement | None:
        try:
            values, _ = json.JSONDecoder().raw_decode(text)
            return cls.model_validate(values)
        except (ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
            return None
