"""``python -m chatsync``: the operator's command."""

import sys

try:
    from .cli import main
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.startswith("chatsync"):
        raise
    sys.exit(
        f"This Python has no {missing.name}: use functions/venv/bin/python, which `make setup`"
        " makes, or pip install -r requirements.txt typer rich."
    )

main()
