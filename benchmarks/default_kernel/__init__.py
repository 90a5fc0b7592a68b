"""Which kernel is the default: every readout, weight, scaling and way to add layers, measured.

    python -m benchmarks.default_kernel [settings] --gemma FILE.gguf --text STORIES
    python -m benchmarks.default_kernel.choose runs/default-kernel
    python -m benchmarks.default_kernel.by_layer runs/default-kernel/*.json --out figure.png

The first judges every candidate and every baseline in each setting; the second takes the candidate
with the best mean lead over the settings, also with each setting, and each model, left out of the
choice in turn; the third draws kernels and baselines layer by layer.
"""
