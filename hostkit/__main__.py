"""``python -m hostkit``: the same as the command ``hostkit``."""

from hostkit.cli import main

main()
