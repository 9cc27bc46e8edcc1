"""``python -m revisage``: the command line."""

from __future__ import annotations

from revisage.cli import main

if __name__ == "__main__":
    main()
