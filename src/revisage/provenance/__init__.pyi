from .labelling import check_labels, label_output
from .manifests import Manifest, SigningKey, load_signing_key, read_manifest
from .picture_labels import label_picture
from .statement import Statement
from .verification import Provenance, read_provenance, read_statements

__all__ = [
    "Manifest",
    "Provenance",
    "SigningKey",
    "Statement",
    "check_labels",
    "label_output",
    "label_picture",
    "load_signing_key",
    "read_manifest",
    "read_provenance",
    "read_statements",
]
