"""Eigendirections in the weights: J^T v, scores of new windows and of positions, nudges, ablation.

May import: tools, model, kernel, directions, operator, linearization, alignment, compressed.
"""
