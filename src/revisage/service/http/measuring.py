"""What a look at the header of an upload needs, loaded once in the process that each look is forked from.

Doors load what is behind them when it is first asked for, and so does Pillow: each fork would do that anew.
"""

from PIL import Image

from revisage import media
from revisage.media import animation, still, video

__all__ = ["NEEDED"]

Image.preinit()
NEEDED = (media.read_extent, animation.animation_extent, still.still_extent, video.video_extent)
