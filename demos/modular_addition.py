"""The modular-addition experiment step by step, with the library's own calls.

    python demos/modular_addition.py [p] [epochs]

Small sizes by default, so that it ends in about a minute; the command `tl-entk
modular-transformer` runs the paper's.
"""

import sys
import tempfile
from pathlib import Path

import tl_entk
from feature_sets import fourier
from tl_entk.experiments import ModularSettings
from tl_entk.experiments.modular_transformer.training import train

p, epochs = (int(argument) for argument in [*sys.argv[1:], "13", "1500"][:2])
settings = ModularSettings(p=p, epochs=epochs, learning_rate=1e-3, train_fraction=0.8)
trained = train(settings, "bridge", Path(tempfile.mkdtemp()), progress=True)
model, data = trained.model, trained.data
print(f"test accuracy {trained.curve.test_accuracy[-1]:.1%}")

# every weight and head, in one forward and one backward pass
blocks = tl_entk.kernel_blocks(model, data.tokens, "mean_logit", lambda name: True)

# which frequencies does the model use? from its weights, and from its kernel alone
features = fourier(data.a.numpy(), data.b.numpy(), p)
keys = tl_entk.key_frequencies(tl_entk.embedding_spectrum(model.W_E[:p]))
from_kernel = tl_entk.key_frequencies(tl_entk.kernel_spectrum(blocks["unembed.W_U"], features))
print(f"key frequencies: {keys} from W_E, {from_kernel} from the kernel")

# do the leading directions of W_U's block span cos k(a + b), sin k(a + b)?
used = fourier(data.a.numpy(), data.b.numpy(), p, sorted(keys))
eigen = tl_entk.eigendecompose(blocks["unembed.W_U"], k=4 * len(keys) + 1)
top = eigen.vectors[:, : 2 * len(keys) + 1]
overlap = tl_entk.subspace_overlap(top, used.family("a+b"))
print(f"overlap with a + b: {overlap.overlap:.2f} of {overlap.max_overlap}")

# and where does each of the model's directions live?
for mode in range(3):
    shares = tl_entk.component_shares(blocks, eigen.vectors[:, mode])
    layers = tl_entk.layer_shares(shares, blocks.partition())
    print(f"mode {mode}:", {name: round(share, 3) for name, share in layers.items()})
