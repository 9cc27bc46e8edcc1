"""Degradations, data, losses and training."""
