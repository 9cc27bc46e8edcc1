"""Errors, time, configuration, value types and progress: what every room may know."""
