"""The embedded story model: Gemma 3 architecture, trained on TinyStories by the scripts here."""
