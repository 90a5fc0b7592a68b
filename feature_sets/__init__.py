"""Ground-truth and interpretable features to compare directions with."""

from feature_sets.feature_set import FeatureSet
from feature_sets.fourier import fourier

__all__ = ["FeatureSet", "fourier"]
