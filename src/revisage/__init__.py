"""revisage restores the faces in videos, animated images and photos, and leaves everything else as it was.

    >>> import revisage
    >>> report = revisage.restore("tape.mp4")            # doctest: +SKIP
    >>> faces = revisage.detect_faces(image)             # doctest: +SKIP

Importing the package is cheap: torch, cv2 and av are loaded by the first call that needs them. What it offers stands in
the stub beside this file, as what each room offers to the others stands in the room's.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
