"""Toy models of superposition with features that depend on each other."""
