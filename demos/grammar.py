"""Grammar in a language model's eNTK, step by step, with the library's own calls.

    python demos/grammar.py [windows of each tag]

The embedded story model, on stories that it writes itself; about a minute on two cores. The command
`tl-entk language` does the same for every layer and kernel, with a report; `--model` and
`--dataset` are for your own.
"""

import sys
from functools import partial

import tl_entk
from feature_sets import context_windows, grammar, load_pipeline, select_labels
from tl_entk import greedy_continuation, load_language_model, sample_stories

per_tag = int((*sys.argv[1:], "16")[0])
loaded = load_language_model("stories")
nlp = load_pipeline()
model = loaded.model

# windows of 32 tokens before a word whose tag the model's own next word shares
windows = context_windows(
    sample_stories(16 * per_tag),
    loaded.tokenizer,
    nlp,
    length=32,
    per_tag=per_tag,
    continuation=partial(greedy_continuation, model),
)
print(windows.report())

# every label that spaCy gives of the next word, and one of our own
labels = grammar(windows, nlp, own={"ends in -ed": lambda token: token.text.endswith("ed")})
features = select_labels(labels.binary(), windows.words, min_positives=per_tag).features

# directions of two kernels of the last layer, and principal components of its activations
tokens, last = windows.tokens, model.cfg.n_layers - 1
flat = tl_entk.top_eigendirections(model, tokens, f"blocks.{last}.mlp.W_out", k=15)
blocks = tl_entk.kernel_blocks(model, tokens, "target_logit", f"blocks.{last}.*")
scalar = tl_entk.eigendecompose(tl_entk.cosine_normalize(blocks.total().double()), k=15)
pca = tl_entk.pca_scores(
    tl_entk.activations_at(model, tokens, f"blocks.{last}.hook_resid_post"), k=15
)

# the best direction for every label, chosen on one half of the windows, judged on the other
table = tl_entk.best_directions(pca, features)
for name, found in {"all logits": flat, "target logit": scalar}.items():
    ours = tl_entk.best_directions(found, features)
    ap, less = ours.macro("ap"), ours.difference(table)
    print(
        f"{name}: macro AP {ap.value:.2f}; less PCA {less.value:+.2f} "
        f"({less.low:+.2f} to {less.high:+.2f})"
    )
