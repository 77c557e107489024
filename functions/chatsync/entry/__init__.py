"""What the deployed functions call: it reads what was sent, and calls one repair."""
