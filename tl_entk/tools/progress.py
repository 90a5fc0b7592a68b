"""Progress of a stage; the class lives in feature_sets, which shows some too."""

from feature_sets.progress import Progress

__all__ = ["Progress"]
