from .cover import train_cover
from .faces import trusted_faces
from .occluders import OCCLUDERS, occlude
from .teachers import Labels, Teachers, label_faces
from .training import train_reader

__all__ = ["OCCLUDERS", "Labels", "Teachers", "label_faces", "occlude", "train_cover", "train_reader", "trusted_faces"]
