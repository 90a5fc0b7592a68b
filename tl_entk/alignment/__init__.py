"""Directions beside features: overlap, shares, baselines, probes, best directions, intervals.

May import: tools, model, kernel, directions; and feature_sets.
"""
