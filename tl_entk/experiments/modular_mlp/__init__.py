"""The modular-addition MLP (arXiv 2510.00468, section 4 and appendices C and D)."""
