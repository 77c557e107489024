"""Measures: what users wait for and what they don't (``python -m bench``), and how the operator's
commands grow beyond that (``bench.scale``)."""
