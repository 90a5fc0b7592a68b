"""Toy models of superposition (arXiv 2510.00468, section 3)."""
