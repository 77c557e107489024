"""``python -m chatsync``: the operator's command."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it imports: no traceback
try:
    from .operator.command import main
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.startswith("chatsync"):
        raise
    print(
        f"This Python has no {missing.name}: use functions/venv/bin/python, which `make setup`"
        " makes, or pip install -r requirements.txt in the folder above functions.",
        file=sys.stderr,
    )
    sys.exit(2)

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
