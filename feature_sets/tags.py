"""Which next words windows are balanced by."""

DEFAULT_TAGS = ("PUNCT", "PRON", "PROPN", "DET", "ADV", "CCONJ", "NOUN", "VERB")
