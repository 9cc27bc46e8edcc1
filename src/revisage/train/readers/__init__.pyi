from .faces import trusted_faces
from .occluders import occlude
from .teachers import Labels, Teachers, label_faces
from .training import train_reader

__all__ = ["Labels", "Teachers", "label_faces", "occlude", "train_reader", "trusted_faces"]
