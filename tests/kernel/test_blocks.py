"""KernelBlocks: identities, tiling, order of the examples, formats, selection."""

from dataclasses import replace

import pytest
import torch

import tl_entk
from tests.kernel.test_blocks_oracle import FLOAT32_INSIDE
from tests.models import HAS_HOOKED, build, tokens
from tests.models import MODELS as EVERY_MODEL
from tests.operator.test_operator_oracle import FLOAT32_SOFTMAX
from tests.oracle import relative_error
from tl_entk.kernel import factor_passes
from tl_entk.kernel.plan import Pass, Work, plan_passes
from tl_entk.model.adapters import adapt
from tl_entk.model.stages import plan_stages, stages_hold

# what these compute in float32 inside
ROUNDED = FLOAT32_INSIDE | FLOAT32_SOFTMAX
MODELS = ["native:layer_norm", "hf:gemma3", *(["hooked:gemma3"] if HAS_HOOKED else [])]


def everything(name):
    return True


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("readout", ["mean_logit", "class_trace"])
def test_heads_sum_to_their_weight_and_blocks_to_the_total(name, readout):
    blocks = tl_entk.kernel_blocks(build(name), tokens(6), readout, everything)
    weights = {n.rpartition("[")[0] for n in blocks if n.endswith("]")}
    assert weights
    for weight in weights:
        heads = sum(blocks[n] for n in blocks if n.startswith(weight + "["))
        assert relative_error(heads, blocks[weight]) < 1e-12
    by_hand = sum(blocks[n] for n in blocks.partition())
    assert relative_error(blocks.total(), by_hand) < 1e-12
    layers = [blocks.sum(f"blocks.{layer}.*") for layer in (0, 1)]
    outside = [n for n in blocks.partition() if not n.startswith("blocks")]
    assert relative_error(sum(layers) + sum(blocks[n] for n in outside), by_hand) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_symmetric_and_positive(name):
    blocks = tl_entk.kernel_blocks(build(name), tokens(6), "class_trace", everything)
    for block in blocks.values():
        assert torch.equal(block, block.T)
        assert float(torch.linalg.eigvalsh(block).min()) >= -1e-10 * float(block.abs().max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("readout", ["target_logit", "class_trace"])
def test_numbers_do_not_depend_on_the_memory_budget(name, readout):
    # exact: norms inside Gemma round to float32, so that its passes must only agree so far
    bound = 1e-12 if "native" in name else 2e-6
    model, batch = build(name), tokens(30)
    roomy = tl_entk.kernel_blocks(model, batch, readout, everything)
    tight = tl_entk.kernel_blocks(model, batch, readout, everything, memory_budget=2**20)
    for component in roomy:
        scale = float(roomy.total().abs().max())
        assert relative_error(tight[component], roomy[component], scale) < bound, component


def test_the_tight_budget_really_splits_the_work(monkeypatch):
    seen = []
    collect = factor_passes.collect
    monkeypatch.setattr(
        factor_passes,
        "collect",
        lambda *a, **k: seen.append((k["batch_size"], k["columns"])) or collect(*a, **k),
    )
    monkeypatch.setattr(factor_passes, "plan_stages", lambda *a: [])
    model, batch, names = build("native:layer_norm"), tokens(120), "blocks.0.attn.*"
    tight = tl_entk.kernel_blocks(model, batch, "class_trace", names, memory_budget=2**20)
    assert len(seen) > 4
    assert all(size < 120 for size, _ in seen)
    assert len({columns.start for _, columns in seen}) > 1
    roomy = tl_entk.kernel_blocks(model, batch, "class_trace", names)
    for name in roomy:
        assert relative_error(tight[name], roomy[name], float(roomy.total().max())) < 1e-12


@pytest.mark.filterwarnings("ignore:the weights look processed")
@pytest.mark.parametrize("name", EVERY_MODEL)
@pytest.mark.parametrize("readout", ["target_logit", "class_trace"])
def test_stages_give_what_one_pass_gives(name, readout, monkeypatch):
    """Each stage goes on from the gradients of the one after it; roles of a parameter wait."""
    model, batch = build(name), tokens(6)
    roomy = tl_entk.kernel_blocks(model, batch, readout, everything)
    counts, held = [], []

    def many_passes(work, *args, **kwargs):
        parts = [Pass(group, slice(0, work.outputs)) for group in work.groups]
        return replace(plan_passes(work, *args, **kwargs), passes=tuple(parts))

    def small(task, sites, sizes, room):
        counts.append(plan_stages(task, sites, sizes, max(sizes.values())))
        return counts[-1]

    def hold(*args):
        held.append(stages_hold(*args))
        return held[-1]

    monkeypatch.setattr(tl_entk.kernel.blocks, "plan_passes", many_passes)
    monkeypatch.setattr(factor_passes, "plan_stages", small)
    monkeypatch.setattr(factor_passes, "stages_hold", hold)
    tight = tl_entk.kernel_blocks(model, batch, readout, everything)
    assert len(counts[0]) > 2
    # shortformer adds positions in every block, past the residual stream
    assert held == [name != "hooked:shortformer"]
    scale = float(roomy.total().abs().max())
    for component in roomy:
        bound = 2e-6 if name in ROUNDED else 1e-12
        assert relative_error(tight[component], roomy[component], scale) < bound, component


def test_stages_are_for_sites_that_take_turns(monkeypatch):
    """Where outputs alone take turns, each is gone back from once as it is."""
    model, batch = build("native:layer_norm"), tokens(120)
    found = []
    stages = factor_passes.find_stages
    monkeypatch.setattr(
        tl_entk.kernel.blocks,
        "find_stages",
        lambda task, plan, dtype: found.append((plan, stages(task, plan, dtype))) or found[-1][1],
    )
    tl_entk.kernel_blocks(model, batch, "class_trace", "blocks.0.mlp.W_out", memory_budget=2**20)
    plan, chosen = found[0]
    assert len(plan.passes) > 1
    assert chosen == []


def test_the_room_of_a_stage_is_what_its_ends_and_waiting_roles_leave(monkeypatch):
    model, batch = build("hf:gemma3"), tokens(6)  # tied: the embedding's roles wait for each other
    found = []
    monkeypatch.setattr(
        tl_entk.kernel.blocks,
        "find_stages",
        lambda task, plan, dtype: found.append((task, plan, dtype)) or [],
    )
    tl_entk.kernel_blocks(model, batch, "logsumexp", memory_budget=2**30)
    task, plan, dtype = found[0]
    rooms = []
    monkeypatch.setattr(
        factor_passes, "plan_stages", lambda task, sites, sizes, room: rooms.append(room) or []
    )
    in_turn = tuple(Pass((site,), slice(0, 1)) for site in plan.work.sites)
    sizes = {site.name: plan.work.factor_bytes((site,), 1) for site in plan.work.sites}
    # gradients of the residual stream: R = 1 output of N = 6 windows
    ends = 2 * 6 * batch.shape[1] * model.cfg.d_model * dtype.itemsize
    waiting = sizes["embed.W_E"] + sizes["unembed.W_U"]
    least = max(sizes.values()) + ends + waiting

    def find(tile_bytes):
        one = replace(plan, passes=in_turn, tile_bytes=tile_bytes)
        return factor_passes.find_stages(task, one, dtype)

    assert find(least // 2 - 1) == []
    assert rooms == []
    assert find(least) == []
    assert rooms == [2 * least - ends - waiting]


def test_targets_stay_with_their_examples_in_small_batches(model):
    batch = tokens(60)
    targets = torch.arange(60) // 9
    for readout in ("target_logit", "target_logprob", "target_margin"):
        roomy, tight = (
            tl_entk.kernel_blocks(
                model, batch, readout, "unembed.*", targets=targets, memory_budget=budget
            )
            for budget in (2**30, 2**20)
        )
        assert relative_error(tight.total(), roomy.total()) < 1e-12


def test_own_readout_with_answers_per_example(model):
    batch = tokens(60)
    right = torch.arange(60) // 9
    wrong = (right + 3) % 7

    def difference(logits, right, wrong):
        return (logits.gather(1, right[:, None]) - logits.gather(1, wrong[:, None]))[:, 0]

    readout = tl_entk.Readout(difference, per_example=(right, wrong), name="logit difference")
    for budget in (2**30, 2**20):
        ours = tl_entk.kernel_blocks(model, batch, readout, memory_budget=budget)
        for i, j in ((0, 1), (17, 59)):
            pair = batch[[i, j]]
            alone = tl_entk.Readout(difference, per_example=(right[[i, j]], wrong[[i, j]]))
            expected = tl_entk.kernel_blocks(model, pair, alone).total()
            assert relative_error(ours.total()[[i, j]][:, [i, j]], expected) < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_permuting_the_examples_permutes_the_kernel(name):
    model, batch = build(name), tokens(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    plain = tl_entk.kernel_blocks(model, batch, "logsumexp", everything)
    shuffled = tl_entk.kernel_blocks(model, batch[order], "logsumexp", everything)
    for component in plain:
        expected = plain[component][order][:, order]
        scale = float(plain.total().abs().max())
        assert relative_error(shuffled[component], expected, scale) < 2e-6


def test_tied_embedding_is_the_roles_with_their_cross_terms():
    model = build("hf:gpt2")
    blocks = tl_entk.kernel_blocks(model, tokens(5), "class_trace")
    roles = blocks["embed.W_E"] + blocks["unembed.W_U"]
    assert relative_error(roles, blocks["tied_embedding"]) > 1e-3
    assert blocks.provenance["tied_embedding"] == "whole, with cross terms"
    apart = tl_entk.kernel_blocks(
        model, tokens(5), "class_trace", lambda n: n != "tied_embedding" and "[" not in n
    )
    assert apart.provenance["tied_embedding"] == "roles apart"
    difference = blocks.total() - apart.total()
    assert relative_error(difference, blocks["tied_embedding"] - roles) < 1e-9


def test_position_per_example_equals_each_position_by_itself(model):
    batch = tokens(4)
    positions = torch.tensor([1, 4, 1, 4])
    mixed = tl_entk.kernel_blocks(model, batch, position=positions)
    for value in (1, 4):
        rows = (positions == value).nonzero()[:, 0]
        alone = tl_entk.kernel_blocks(model, batch[rows], position=value)
        for name in alone:
            assert relative_error(mixed[name][rows][:, rows], alone[name], 1.0) < 1e-12


def test_half_precision_model_accumulates_in_float32():
    half = build("native:layer_norm", torch.bfloat16)
    blocks = tl_entk.kernel_blocks(half, tokens(5))
    exact = tl_entk.kernel_blocks(build("native:layer_norm"), tokens(5))
    assert blocks.total().dtype == torch.float32
    assert relative_error(blocks.total(), exact.total()) < 0.1
    wide = tl_entk.kernel_blocks(half, tokens(5), dtype=torch.float64)
    assert wide.total().dtype == torch.float64


def test_every_trainable_weight_is_the_default(model):
    names = set(tl_entk.kernel_blocks(model, tokens()))
    assert names == {n for n in tl_entk.list_components(model) if not n.endswith("]")}
    model.get_parameter("embed._original_component.weight").requires_grad_(False)
    assert names - set(tl_entk.kernel_blocks(model, tokens())) == {"embed.W_E"}


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        ("blocks.0.attn.W_Q[1]", ["blocks.0.attn.W_Q[1]"]),
        ("blocks.*.attn.W_O", ["blocks.0.attn.W_O", "blocks.1.attn.W_O"]),
        (["unembed.W_U", "embed.*"], ["embed.W_E", "unembed.W_U"]),
        (lambda n: n.endswith("1.w"), ["blocks.0.ln1.w", "blocks.1.ln1.w"]),
    ],
)
def test_components_are_names_globs_lists_or_predicates(model, components, expected):
    assert list(tl_entk.kernel_blocks(model, tokens(), components=components)) == expected


def test_missing_block_says_how_to_get_it(model):
    blocks = tl_entk.kernel_blocks(model, tokens(), components="embed.W_E")
    with pytest.raises(KeyError, match="components="):
        blocks["unembed.W_U"]
    assert "embed.W_E" in repr(blocks)
    assert blocks == blocks
    assert blocks != tl_entk.kernel_blocks(model, tokens(), components="embed.W_E")
    assert len({blocks, blocks}) == 1


def test_list_components_of_a_whole_model():
    names = tl_entk.list_components(build("hf:llama"))
    layer = [n.removeprefix("blocks.0.") for n in names if n.startswith("blocks.0.")]
    assert layer == [
        "ln1.w", "ln2.w",
        *[f"attn.W_Q{h}" for h in ("", "[0]", "[1]", "[2]", "[3]")],
        *["attn.W_K", "attn.W_K[0]", "attn.W_K[1]", "attn.W_V", "attn.W_V[0]", "attn.W_V[1]"],
        *[f"attn.W_O{h}" for h in ("", "[0]", "[1]", "[2]", "[3]")],
        "mlp.W_gate", "mlp.W_in", "mlp.W_out",
    ]  # fmt: skip


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_both_classes_give_the_same_blocks_for_the_same_function():
    from tl_entk.experiments import ModularSettings, build_model, modular_data

    settings = ModularSettings(p=7)
    data = modular_data(settings)
    chosen = lambda name: ".b_" not in name  # noqa: E731
    hooked, bridge = (
        tl_entk.kernel_blocks(build_model(settings, c), data.tokens, components=chosen)
        for c in ("hooked", "bridge")
    )
    assert list(hooked) == list(bridge)
    for name in hooked:
        assert relative_error(hooked[name], bridge[name], float(hooked.total().max())) < 1e-5


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "bloom", "solu_ln"])
def test_names_are_those_of_the_hooked_transformers_own_parameters(name):
    from tl_entk.model.adapters import adapt

    model = build(f"hooked:{name}")
    own = {n.replace("._W_", ".W_").replace("._b_", ".b_"): p for n, p in model.named_parameters()}
    sites = adapt(model).by_name
    for component, site in sites.items():
        assert site.parameter is own[component], component
    assert set(own) - set(sites) <= {"pos_embed.W_pos"}


def test_names_are_those_of_the_hugging_face_modules():
    from tl_entk.model.adapters import adapt

    model = build("hf:gemma3")
    inner = model.original_model
    by_hand = {
        "embed.W_E": "embed_tokens",
        "ln_final.w": "norm",
        "blocks.1.ln1.w": "layers.1.input_layernorm",
        "blocks.1.ln1_post.w": "layers.1.post_attention_layernorm",
        "blocks.1.ln2.w": "layers.1.pre_feedforward_layernorm",
        "blocks.1.ln2_post.w": "layers.1.post_feedforward_layernorm",
        "blocks.1.attn.W_Q": "layers.1.self_attn.q_proj",
        "blocks.1.attn.W_K": "layers.1.self_attn.k_proj",
        "blocks.1.attn.W_V": "layers.1.self_attn.v_proj",
        "blocks.1.attn.W_O": "layers.1.self_attn.o_proj",
        "blocks.1.attn.q_norm.w": "layers.1.self_attn.q_norm",
        "blocks.1.attn.k_norm.w": "layers.1.self_attn.k_norm",
        "blocks.1.mlp.W_gate": "layers.1.mlp.gate_proj",
        "blocks.1.mlp.W_in": "layers.1.mlp.up_proj",
        "blocks.1.mlp.W_out": "layers.1.mlp.down_proj",
    }
    plain = {
        path.replace("_original_component.", "").removeprefix("model."): parameter
        for path, parameter in inner.named_parameters()
    }
    sites = adapt(model).by_name
    for component, module in by_hand.items():
        assert sites[component].parameter is plain[f"{module}.weight"], component
    # the first layer has the same names
    first = {c.replace("blocks.1", "blocks.0") for c in by_hand}
    assert set(sites) == first | set(by_hand) | {"unembed.W_U", *({"unembed.b_U"} & set(sites))}


def test_outputs_take_turns_rather_than_sites(model):
    """Every backward pass serves all sites where one output of all fits the budget."""
    adapter = adapt(model)
    sites = [site for site in adapter.sites if site.kind == "linear"]
    uses = dict.fromkeys([site.name for site in sites], 5)
    one = sum(100 * 5 * (site.d_in + site.d_out) * 4 for site in sites)
    for budget, turns in ((4 * one, 16), (100 * one, 1)):
        work = Work(tuple(sites), uses, n=100, outputs=16, example_floats=1000, itemsize=4)
        plan = plan_passes(work, budget)
        assert all(set(step.sites) == set(sites) for step in plan.passes)
        assert len(plan.passes) <= turns
        assert sum(step.columns.stop - step.columns.start for step in plan.passes) == 16
