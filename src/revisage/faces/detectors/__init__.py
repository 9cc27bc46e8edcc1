"""The networks that find faces, each behind the same :class:`Finder`: one image at one size in, boxes out."""

from __future__ import annotations

from revisage.faces.detectors.found import Finder, Found, suppressed, without_parts

__all__ = ["Finder", "Found", "suppressed", "without_parts"]
