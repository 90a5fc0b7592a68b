"""Dense N x N kernel blocks: a plan of passes, Gram matrices of factors, normalizations.

May import: tools, model.
"""
