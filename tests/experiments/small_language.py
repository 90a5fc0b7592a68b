"""A small run of the language experiment."""

from tl_entk.experiments.language.settings import (
    LanguageSettings,
    kernels_name,
    windows_name,
)

SMALL = LanguageSettings(
    pipeline="embedded", per_tag=8, length=12, sampled=60, k=5, per_story=4, layers=(4, 5),
    tol=1e-2, probe="ridge", exact=True,
    readouts=("logsumexp", "target_logit"),
    components=("W_out", "whole layer", "all layers", "later layers"),
    normalizations=("cosine+centered",), labels=('content=[{"POS": {"IN": ["NOUN", "VERB"]}}]',),
)  # fmt: skip


def kernels(folder):
    return folder / windows_name(SMALL) / kernels_name(SMALL)
