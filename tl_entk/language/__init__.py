"""Language models: loading them, what they say next, and which tokens a direction raises.

May import: tools, model, kernel, directions, operator, alignment; and feature_sets.
"""
