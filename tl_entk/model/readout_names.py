"""Names of the readouts; without torch, as the command line reads them for its help."""

NAMES = (
    "mean_logit",
    "class_trace",
    "target_logit",
    "target_logprob",
    "logsumexp",
    "target_margin",
    "top_logits",
)
