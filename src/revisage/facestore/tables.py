"""The tables of a face store's index, in SQLite or PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["consents", "faces", "meta", "metadata", "people", "sources"]

metadata = sa.MetaData()


def _hash(name: str, **options: bool) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), nullable=False, **options)  # type: ignore[arg-type]


meta = sa.Table(
    "facestore_meta",
    metadata,
    sa.Column("store", sa.String(32), primary_key=True),
)

# Without AUTOINCREMENT, SQLite would give the number of a forgotten person to the next one.
people = sa.Table(
    "facestore_people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("label", sa.String(200), unique=True),
    sqlite_autoincrement=True,
)

sources = sa.Table(
    "facestore_sources",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _hash("sha256", unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

consents = sa.Table(
    "facestore_consents",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("stated_on", sa.Date, nullable=False),
)

faces = sa.Table(
    "facestore_faces",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person_id", sa.ForeignKey("facestore_people.id"), nullable=False, index=True),
    sa.Column("source_id", sa.ForeignKey("facestore_sources.id"), nullable=False, index=True),
    sa.Column("consent_id", sa.ForeignKey("facestore_consents.id"), nullable=False),
    sa.Column("track", sa.Integer, nullable=False),
    sa.Column("frame", sa.Integer, nullable=False),
    sa.Column("pts", sa.BigInteger, nullable=False),
    sa.Column("time_base", sa.String(40), nullable=False),
    sa.Column("box", sa.JSON, nullable=False),
    sa.Column("landmarks", sa.JSON, nullable=False),
    sa.Column("score", sa.Float(53), nullable=False),
    sa.Column("strength", sa.Float(53), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("native_px", sa.Float(53), nullable=False),
    sa.Column("sharpness", sa.Float(53), nullable=False),
    _hash("before_sha256", index=True),
    _hash("after_sha256"),
    sa.Column("model", sa.Text, nullable=False),
    _hash("model_sha256"),
    _hash("config_sha256"),
    sa.Column("embedding", sa.LargeBinary),
    sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("before_sha256", "after_sha256", name="facestore_faces_content"),
)
