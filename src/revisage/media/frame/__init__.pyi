from .frame import Frame
from .samples import Colour, Orientation, PixelLayout, guess_colour

__all__ = [
    "Colour",
    "Frame",
    "Orientation",
    "PixelLayout",
    "guess_colour",
]
