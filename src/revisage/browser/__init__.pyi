from .export_page import export_page
from .runtime import RUNTIME

__all__ = ["RUNTIME", "export_page"]
