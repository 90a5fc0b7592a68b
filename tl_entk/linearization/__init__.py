"""The Jacobian of all outputs kept as factors, and kernel regression with it.

May import: tools, model, kernel, directions.
"""
