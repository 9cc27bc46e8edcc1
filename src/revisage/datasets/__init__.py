"""Data sets: align, check, degrade and classify faces, GIFs and videos."""
