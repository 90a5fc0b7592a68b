"""Eigendirections: of dense kernels, of operators by Lanczos; cliffs, and rotations within them.

May import: tools, model, kernel.
"""
