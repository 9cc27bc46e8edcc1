from .connection import connect
from .runner import RayRunner
from .schedule import Schedule, Ticket

__all__ = ["RayRunner", "Schedule", "Ticket", "connect"]
