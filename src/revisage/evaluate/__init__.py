"""Measures of images and videos."""
