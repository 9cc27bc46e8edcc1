"""revisage's nodes for ComfyUI: this folder is copied or linked into ``custom_nodes``."""

from .nodes import RestoreFaces, RestoreFacesInVideo

NODE_CLASS_MAPPINGS = {
    "RevisageRestoreFaces": RestoreFaces,
    "RevisageRestoreFacesInVideo": RestoreFacesInVideo,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RevisageRestoreFaces": "Restore Faces (revisage)",
    "RevisageRestoreFacesInVideo": "Restore Faces in Video (revisage)",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
