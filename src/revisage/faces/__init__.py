"""Detect, track, align, blend and composite faces."""
