"""``python -m chatsync``: the operator's command."""

import sys

try:
    from .cli import main
except ModuleNotFoundError as missing:
    if missing.name not in ("typer", "rich"):
        raise
    sys.exit("The command needs two packages that functions do without: pip install typer rich")

main()
