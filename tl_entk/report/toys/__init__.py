"""The pages of the toy settings, and of all of them together."""
