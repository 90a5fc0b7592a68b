"""The 1-layer modular-addition Transformer (arXiv 2510.00468, section 4)."""
