"""Flattened kernels of many components at once, compressed to a few directions of the outputs.

May import: tools, model, kernel, directions, operator, linearization.
"""
