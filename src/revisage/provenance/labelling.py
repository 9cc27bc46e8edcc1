"""What a run does to say in its output what it did: the label, and on request a signed manifest."""

from __future__ import annotations

from pathlib import Path

from revisage.core import RestoreConfig
from revisage.provenance.manifests import check_signable, load_signing_key, sign_output
from revisage.provenance.picture_labels import label_picture
from revisage.provenance.statement import Statement
from revisage.provenance.verification import read_statements

__all__ = ["check_labels", "label_output"]

_NO_PLACE = "this format has no place for the label that says that faces were restored"
_NOTHING_TO_SIGN = "no face was restored, so there is no C2PA manifest"


def check_labels(config: RestoreConfig, output: Path) -> None:
    """See before the work that what shall be signed can be.

    Raises:
        ConfigError: the format holds no manifest, or key and certificate do not sign.
        MissingExtraError: the reference library is not installed.
    """
    if config.c2pa_key is not None and config.c2pa_cert is not None:
        check_signable(output)
        load_signing_key(config.c2pa_key, config.c2pa_cert)


def label_output(output: Path, statement: Statement | None, source: Path, config: RestoreConfig) -> list[str]:
    """Say in a finished file what was done to it.

    Args:
        output: a video that was assembled with the statement in its comment, or a picture or animation without.
        statement: what was done; None where nothing was, or nothing shall be said.
        source: what it was made from.
        config: names key and certificate, if it shall be signed.

    Returns:
        What could not be said, one line each.

    Raises:
        OutputError: it cannot be written.
    """
    signs = config.c2pa_key is not None and config.c2pa_cert is not None
    if statement is None:
        return [_NOTHING_TO_SIGN] if signs else []
    said = label_picture(output, statement) or statement in read_statements(output)
    # Last: a signature is over all bytes.
    if config.c2pa_key is not None and config.c2pa_cert is not None:
        sign_output(output, statement, source, load_signing_key(config.c2pa_key, config.c2pa_cert))
    return [] if said else [_NO_PLACE]
