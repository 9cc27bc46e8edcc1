"""Bearer tokens: random, shown once, kept as hashes."""

from __future__ import annotations

import hashlib
import re
import secrets

import sqlalchemy as sa

from revisage.core import ConfigError
from revisage.service.errors import NotFoundError
from revisage.service.store import JobStore
from revisage.service.tables import tokens
from revisage.service.values import Token

__all__ = ["add_token", "check_token", "list_tokens", "revoke_token"]

_PREFIX = "rv_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


def add_token(store: JobStore, name: str) -> str:
    """A new token; its secret is not kept and cannot be shown again.

    Args:
        store: where it will be good.
        name: of whoever gets it. Tokens of one name see the same jobs, so that one can replace another.

    Raises:
        ConfigError: the name has other characters than letters, digits and ``._@-``.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a token cannot be called '{name}'; use letters, digits and ._@-, at most 100")
    # 256 random bits: no dictionary reaches them, so a plain hash is as good as a slow one.
    secret = _PREFIX + secrets.token_urlsafe(32)
    row = {"id": secrets.token_hex(4), "name": name, "hash": _hash(secret), "created": store.clock()}
    with store.database.write() as connection:
        connection.execute(tokens.insert().values(**row))
    return secret


def check_token(store: JobStore, secret: str) -> Token | None:
    """The token with this secret, unless it is unknown or revoked."""
    query = sa.select(tokens).where(tokens.c.hash == _hash(secret), tokens.c.revoked.is_(None))
    with store.database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else _token(row)


def list_tokens(store: JobStore) -> list[Token]:
    """All tokens, revoked ones too, the oldest first."""
    with store.database.read() as connection:
        return [_token(row) for row in connection.execute(sa.select(tokens).order_by(tokens.c.created))]


def revoke_token(store: JobStore, token_id: str) -> None:
    """Make a token worthless at once.

    Raises:
        NotFoundError: there is none of this id that is good.
    """
    good = sa.and_(tokens.c.id == token_id, tokens.c.revoked.is_(None))
    with store.database.write() as connection:
        if not connection.execute(tokens.update().where(good).values(revoked=store.clock())).rowcount:
            raise NotFoundError(f"there is no token {token_id}; see: revisage token list")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    values = row._mapping
    return Token(values["id"], values["name"], values["created"], values["revoked"])
