"""The story model's training is taken up where it was left."""

import torch

from tl_entk.language.story_model.train import Recipe, Run


def test_a_training_goes_on_from_its_file(tmp_path):
    recipe = Recipe(steps=10, warmup=2, rows=2)
    rows = torch.randint(5, 100, (2, 8), generator=torch.Generator().manual_seed(0))
    whole = Run(recipe, tmp_path / "state.safetensors")
    for _ in range(2):
        whole.log.append({"step": whole.step, "loss": whole.advance(rows)})
    whole.save()
    resumed = Run(recipe, tmp_path / "state.safetensors")
    assert (resumed.step, resumed.log) == (2, whole.log)
    losses = []
    for run in (whole, resumed):
        torch.manual_seed(5)  # of dropout
        losses.append([run.advance(rows) for _ in range(2)])
    assert losses[0] == losses[1]
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name
