"""Measures the real processes and prints one table: `python -m bench`."""
