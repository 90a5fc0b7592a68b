"""Following the eNTK through training: a module of one's own, and when it groks.

    python demos/dynamics.py [p] [epochs]

About half a minute with the defaults; the command `tl-entk modular-mlp` shows all there is.
"""

import sys

import tl_entk
from feature_sets import fourier
from tl_entk.experiments.modular_mlp.model import MLPSettings, seeded_mlp, train_mlp

p, epochs = (int(argument) for argument in [*sys.argv[1:], "29", "200"][:2])
settings = MLPSettings(p=p, epochs=epochs)
data = seeded_mlp(settings)[1]

# what to follow: the kernel's second cliff against the waves of a + b
sums = fourier(data.a.numpy(), data.b.numpy(), p, families=["a+b"])
second_cliff = range(1 + settings.cliff, 1 + 2 * settings.cliff)
track = tl_entk.Track(
    lambda model: tl_entk.kernel_blocks(model, data.x, "class_trace"),
    {"sum": tl_entk.Watch("total", second_cliff, sums)},
    at=range(0, epochs + 1, 10),
    k=second_cliff.stop,
)
train_mlp(settings, callback=track)  # any loop that calls track(step, model, metrics) will do

course = track.course()
accuracy = course.metrics["test_accuracy"]
print(f"epoch  test accuracy  overlap with a + b (at most {course.max_overlap['sum']})")
for step, right, overlap in zip(course.steps, accuracy, course.overlaps["sum"], strict=True):
    print(f"{int(step):5d}  {float(right):13.1%}  {float(overlap):8.2f}")
print("steepest rise of the overlap: epoch", course.peak("sum").step)
print("onset of grokking: epoch", tl_entk.onset(course.steps.numpy(), accuracy.numpy()))
