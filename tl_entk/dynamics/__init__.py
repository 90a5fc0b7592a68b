"""Kernels followed through a training: what is watched, its course, the onset of grokking.

May import: tools, model, kernel, directions, alignment; and feature_sets.
"""
