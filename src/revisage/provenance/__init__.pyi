from .picture_labels import label_picture
from .statement import Statement
from .verification import read_statements

__all__ = [
    "Statement",
    "label_picture",
    "read_statements",
]
