from .adversaries import StyleDiscriminator, discriminator_loss, generator_loss, gradient_penalty
from .losses import Recogniser, load_recogniser, remove_lattice
from .training import train_restorer

__all__ = [
    "Recogniser",
    "StyleDiscriminator",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
    "load_recogniser",
    "remove_lattice",
    "train_restorer",
]
