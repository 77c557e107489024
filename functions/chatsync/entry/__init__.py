"""What the deployed functions call: each entry point reads what was sent and calls one repair."""
