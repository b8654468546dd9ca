"""Measures Tagroar as its users meet it, side by side with references in one run; see `python -m benchmarks`."""
