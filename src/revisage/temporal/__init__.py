"""Stability over time: smoothing of tracks."""
