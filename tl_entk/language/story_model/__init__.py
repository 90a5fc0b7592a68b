"""The embedded story model: Gemma 3 architecture, trained on TinyStories by the scripts here."""

# what it is called wherever a model's name is asked for
EMBEDDED = "stories"
