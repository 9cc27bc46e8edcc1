"""Probe, read and write videos, animated images, stills and folders; stream copy; colour."""
