"""GFP-GAN in its two forms, and the StyleGAN2 decoders that they steer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
