"""Restoration behind an API: the job store, the workers and the HTTP service that share it."""
