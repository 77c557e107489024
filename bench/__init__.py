"""Measures: what users wait for (``python -m bench``), and how it grows (``bench.scale``)."""
