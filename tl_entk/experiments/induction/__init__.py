"""Induction heads: a 2-layer attention-only Transformer on repeated random tokens."""
