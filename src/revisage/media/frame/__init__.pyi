from .frame import Frame
from .samples import Colour, Orientation, PixelLayout, area_resized, guess_colour

__all__ = [
    "Colour",
    "Frame",
    "Orientation",
    "PixelLayout",
    "area_resized",
    "guess_colour",
]
