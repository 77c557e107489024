"""The operator's command, and its edge to the terminal. It is not deployed for the functions."""
