"""The page of the language-model experiment."""
