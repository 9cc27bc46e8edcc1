"""Reading again what files say of themselves: labels and C2PA manifests of pictures, animations and videos."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from revisage import media
from revisage.core import MissingExtraError
from revisage.provenance.manifests import Manifest, read_manifest
from revisage.provenance.statement import Statement

__all__ = ["Provenance", "read_provenance", "read_statements"]


def read_statements(path: Path) -> list[Statement]:
    """What a file says of faces that were restored in it, oldest first; empty where it says nothing.

    That proves nothing: a label can be taken out, and anybody can write one. It tells those who want to know.

    Raises:
        InputError: there is no such file, or it is none of the kinds that revisage reads.
    """
    info = media.probe(path)
    if info.kind == "video":
        texts = list(info.metadata.values())
    else:
        from xml.sax.saxutils import unescape  # it brings urllib and http, which every run would wait for

        found = media.read_texts(path)
        texts = [unescape(found.xmp), found.comment]
    return [statement for text in texts for statement in Statement.all_in(text)]


class Provenance(BaseModel):
    """What a file says of itself.

    Attributes:
        statements: of labels, oldest first. They prove nothing: a label can be taken out, and anybody can write one.
        manifest: the active C2PA manifest with its state of validation, or None.
        notes: what could not be looked at, one line each.
    """

    model_config = ConfigDict(frozen=True)

    statements: tuple[Statement, ...] = ()
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether it says something, and no signature speaks against it."""
        if self.manifest is not None and self.manifest.state == "Invalid":
            return False
        return bool(self.statements) or self.manifest is not None

    def lines(self) -> list[str]:
        """All of it for people."""
        said = [str(statement) for statement in self.statements] or ["no label of revisage"]
        if self.manifest is not None:
            said.append(str(self.manifest))
            said += [f"signed: {statement}" for statement in self.manifest.statements]
        return [*said, *self.notes]


def read_provenance(path: Path, trust_anchors: Path | None = None) -> Provenance:
    """Labels and C2PA manifest of a file.

    Args:
        path: of a picture, an animation or a video.
        trust_anchors: certificates (PEM) of those who may vouch for who signed; without, nobody is trusted.

    Raises:
        InputError: there is no such file, or it is none of the kinds that revisage reads.
        ConfigError: the certificates cannot be read.
        MissingExtraError: there are certificates, but what reads manifests is not installed.
    """
    statements = tuple(read_statements(path))
    try:
        return Provenance(statements=statements, manifest=read_manifest(path, trust_anchors))
    except MissingExtraError as error:
        if trust_anchors is not None:
            raise
        return Provenance(statements=statements, notes=(f"not looked for: {error}",))
