"""The matrix-free kernel: products with vectors through the part of a network after a weight.

May import: tools, model, kernel, directions.
"""
