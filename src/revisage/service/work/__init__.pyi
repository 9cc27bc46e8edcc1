from .worker import Supervisor, run_worker

__all__ = [
    "Supervisor",
    "run_worker",
]
