"""Which kernel is the default: every readout, weight, scaling and way to add layers, measured.

    python -m benchmarks.default_kernel measure --windows runs/windows-... --name gemma ...
    python -m benchmarks.default_kernel choose runs/default-kernel/*.json

``measure`` judges every candidate and every baseline on the windows of a run of ``tl-entk
language``; ``choose`` takes the candidate with the best mean lead over the settings, also with each
setting left out of the choice in turn. No label of a setting that is left out enters its choice.
"""
