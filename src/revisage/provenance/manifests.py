"""C2PA manifests: what was done to a file, signed with its maker's key, and how they are read and validated again.

Follows the C2PA technical specification 2.2 through its reference library. Nothing is fetched from a network: no time
stamp is asked for, and neither revocation lists nor manifests that lie elsewhere.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from revisage import media
from revisage.core import ConfigError, MissingExtraError, OutputError, written_beside
from revisage.provenance.picture_labels import SOURCE_TYPE
from revisage.provenance.statement import Statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["Manifest", "SigningKey", "check_signable", "load_signing_key", "read_manifest", "sign_output"]

STATEMENT_LABEL = "io.github.revisage.statement"
_SETTINGS: dict[str, Any] = {
    "verify": {"verify_after_sign": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_UNKNOWN = "signingCredential.untrusted"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_TRIAL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A GIF of one pixel, signed before the work to see whether key and certificate will do."""
_ONE_PIXEL = {
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]},
        }
    ]
}


class Manifest(BaseModel):
    """The active C2PA manifest of a file.

    Attributes:
        state: ``Trusted`` where it is whole and its signer's certificate leads to a known root; ``Valid`` where it is
            whole, signed by somebody not known; ``Invalid`` where the file or the manifest was changed since.
        signer: whom the certificate names; None where it cannot be read.
        generator: the software that made it.
        actions: what was done, in the specification's words (``c2pa.edited``).
        source_types: IPTC's kinds of source that the actions name.
        ingredients: titles of what it was made from.
        statements: what revisage states in it.
        problems: codes and words of what is not valid.
    """

    model_config = ConfigDict(frozen=True)

    state: Literal["Trusted", "Valid", "Invalid"]
    signer: str | None = None
    generator: str = ""
    actions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    ingredients: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A line for people."""
        meaning = {
            "Trusted": "whole, and its signer is known",
            "Valid": "whole; who signed it is not in the list of trust",
            "Invalid": "NOT valid",
        }
        text = f"C2PA manifest of {self.signer or 'somebody unnamed'}: {meaning[self.state]}"
        return f"{text} ({'; '.join(self.problems)})" if self.problems and self.state == "Invalid" else text


@dataclass(frozen=True)
class SigningKey:
    """A private key (PKCS #8, PEM) that C2PA can sign with, its algorithm, and the chain of its certificate (PEM)."""

    algorithm: str
    key: bytes = field(repr=False)
    chain: bytes


def load_signing_key(key: Path, certificate: Path) -> SigningKey:
    """Read a key and its certificate, and see that they can sign by signing one pixel.

    Args:
        key: a private key in PEM: RSA, EC (P-256, P-384, P-521) or Ed25519, without a passphrase.
        certificate: in PEM, those of the issuers behind it.

    Raises:
        ConfigError: one cannot be read, they do not belong together, or C2PA does not take the certificate.
        MissingExtraError: the reference library is not installed.
    """
    c2pa = _library()
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(_read(key, "c2pa_key"), None)
    except TypeError:
        raise ConfigError(f"c2pa_key: {key} has a passphrase; decrypt it (openssl pkey -in … -out …)") from None
    except ValueError:
        raise ConfigError(f"c2pa_key: {key} holds no private key in PEM") from None
    chain = _read(certificate, "c2pa_cert")
    try:
        own = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise ConfigError(f"c2pa_cert: {certificate} holds no certificate in PEM") from None
    if own.public_key() != private.public_key():
        raise ConfigError(f"c2pa_key: {key} is not the key of the first certificate in {certificate}")
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signing = SigningKey(_algorithm(private, key), pem, chain)
    try:
        _signed_into(io.BytesIO(_TRIAL), io.BytesIO(), "image/gif", _ONE_PIXEL, signing, None)
    except c2pa.C2paError as error:
        raise ConfigError(f"c2pa_cert: {certificate} cannot sign C2PA manifests: {_said(error)}") from None
    return signing


def check_signable(output: Path) -> None:
    """See that files with the ending of ``output`` can hold a manifest.

    Raises:
        ConfigError: they cannot.
        MissingExtraError: the reference library is not installed.
    """
    known = _library().Builder.get_supported_mime_types()
    if media.media_type(output.suffix) not in known:
        endings = {*media.IMAGE_SUFFIXES, *media.VIDEO_SUFFIXES}
        holding = sorted(suffix for suffix in endings if media.media_type(suffix) in known)
        raise ConfigError(
            f"c2pa_key: {output.suffix or 'this format'} holds no C2PA manifest; these do: {', '.join(holding)}"
        )


def sign_output(output: Path, statement: Statement, source: Path, signing: SigningKey) -> None:
    """Write a manifest into a finished file: it was edited, from what, and how.

    Args:
        output: replaced as a whole, or left as it is.
        statement: what was done.
        source: what it was made from; its own manifest, if it has one, is kept within the new one.
        signing: of the user.

    Raises:
        OutputError: the library could not do it.
    """
    c2pa = _library()
    name, _, version = statement.software.partition(" ")
    agent = {"name": name, "version": version}
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
        "description": str(statement),
    }
    said = {"@context": {"@vocab": "https://github.com/revisage/revisage/ns/1.0/"}, **statement.model_dump()}
    definition = {
        "claim_generator_info": [agent],
        "title": output.name,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [edited]}},
            {"label": STATEMENT_LABEL, "data": said, "kind": "Json"},
        ],
    }
    try:
        with output.open("rb") as made, written_beside(output) as waiting, waiting.open("w+b") as signed:
            _signed_into(made, signed, media.media_type(output.suffix), definition, signing, source)
    except c2pa.C2paError as error:
        raise OutputError(f"{output}: no C2PA manifest could be written: {_said(error)}") from None


def read_manifest(path: Path, trust_anchors: Path | None = None) -> Manifest | None:
    """The active manifest of a file, validated; None where it has none, or is of a kind that holds none.

    Args:
        path: of the file.
        trust_anchors: certificates (PEM) of those who may vouch for signers; without, nobody is trusted.

    Raises:
        ConfigError: the certificates cannot be read.
        MissingExtraError: the reference library is not installed.
    """
    c2pa = _library()
    settings = dict(_SETTINGS)
    if trust_anchors is not None:
        settings["trust"] = {"user_anchors": _read(trust_anchors, "trust_anchors").decode("utf-8", "replace")}
    try:
        with c2pa.Context.from_dict(settings) as context:
            reader = c2pa.Reader.try_create(path, context=context)
            if reader is None:
                return None
            with reader:
                return _manifest(json.loads(reader.json()))
    except c2pa.C2paError.NotSupported:
        return None
    except c2pa.C2paError as error:
        return Manifest(state="Invalid", problems=(_said(error),))


def _manifest(store: dict[str, Any]) -> Manifest:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    actions = [one for data in _assertions(active, "c2pa.actions") for one in data.get("actions", [])]
    signature, generators = active.get("signature_info") or {}, active.get("claim_generator_info") or []
    names = [signature[name] for name in ("common_name", "issuer") if signature.get(name)]
    results = store.get("validation_results", {}).get("activeManifest", {})
    # What others wrote under this name may be anything.
    said = "".join(Statement.marked(json.dumps(data)) for data in _assertions(active, STATEMENT_LABEL))
    return Manifest(
        state=store.get("validation_state", "Invalid"),
        signer=", ".join(names) or None,
        generator=", ".join(f"{one.get('name', '')} {one.get('version', '')}".strip() for one in generators),
        actions=tuple(one.get("action", "") for one in actions),
        source_types=tuple(one["digitalSourceType"] for one in actions if "digitalSourceType" in one),
        ingredients=tuple(one.get("title") or "" for one in active.get("ingredients") or []),
        statements=tuple(Statement.all_in(said)),
        problems=tuple(
            f"{one['code']}: {one.get('explanation', '')}"
            for one in results.get("failure", [])
            if one["code"] != _UNKNOWN  # that is the difference between valid and trusted
        ),
    )


def _assertions(active: dict[str, Any], label: str) -> list[dict[str, Any]]:
    found = [each.get("data") for each in active.get("assertions") or [] if each.get("label", "").startswith(label)]
    return [data for data in found if isinstance(data, dict)]


def _signed_into(
    made: BinaryIO, signed: BinaryIO, mime: str, definition: dict[str, Any], signing: SigningKey, source: Path | None
) -> None:
    c2pa = _library()
    parent: dict[str, str] = {}
    if source is not None:
        parent = {"title": source.name, "format": media.media_type(source.suffix), "relationship": "parentOf"}
    with_content = parent.get("format") in c2pa.Builder.get_supported_mime_types()
    if parent and not with_content:  # the library cannot look into it, but it is named
        definition = {**definition, "ingredients": [parent]}
    info = c2pa.C2paSignerInfo(signing.algorithm, signing.chain, signing.key, None)
    with (
        c2pa.Context.from_dict(_SETTINGS) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder.from_json(json.dumps(definition), context) as builder,
    ):
        if parent:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        if source is not None and with_content:
            with source.open("rb") as stream:
                builder.add_ingredient(json.dumps(parent), parent["format"], stream)
        builder.sign(signer, mime, made, signed)


def _library() -> Any:
    try:
        import c2pa
    except ImportError:
        raise MissingExtraError("A C2PA manifest", "c2pa") from None
    return c2pa


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {path} cannot be read: {error.strerror}") from None


def _algorithm(private: PrivateKeyTypes, path: Path) -> str:
    """COSE's name of how a key signs."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    raise ConfigError(f"c2pa_key: {path} is of a kind that C2PA does not take; RSA, P-256, P-384, P-521 or Ed25519")


def _said(error: Exception) -> str:
    """The library's words, in one line and without the name of its class."""
    return " ".join(str(error).split()).partition(": ")[2] or str(error)
