"""Benchmarks: ours and the plain way, in one run."""
