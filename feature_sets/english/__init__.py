"""The embedded English spaCy pipeline: small, trained on UD English EWT by the scripts here."""
