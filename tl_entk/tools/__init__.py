"""Helpers that know nothing of kernels: files written whole, progress bars, wall time.

May import: nothing of tl_entk.
"""
