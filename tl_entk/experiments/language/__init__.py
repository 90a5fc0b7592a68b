"""Grammar in a language model's eigendirections (arXiv 2510.00468, section 5)."""
