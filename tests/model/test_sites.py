import pytest

from tl_entk.model.sites import TIED, glob_match, match_names, parents, partition, select

NAMES = ["embed.W_E", "blocks.0.attn.W_Q", "blocks.0.attn.W_Q[0]", "blocks.0.attn.W_Q[1]",
         "blocks.10.attn.W_Q", "unembed.W_U"]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("blocks.0.attn.W_Q", NAMES[1:2]),
        ("blocks.0.attn.W_Q[*]", NAMES[2:4]),
        ("blocks.0.attn.W_Q[[]*]", None),  # brackets are no character class
        ("blocks.?.attn.W_Q", NAMES[1:2]),
        ("blocks.*.W_Q", [NAMES[1], NAMES[4]]),
        ("*", NAMES),
    ],
)
def test_globs(pattern, expected):
    if expected is None:
        with pytest.raises(ValueError, match="no component matches"):
            match_names(NAMES, pattern)
    else:
        assert match_names(NAMES, pattern) == expected


def test_a_dot_is_a_dot():
    assert not glob_match("blocksx0", "blocks.0")


def test_order_is_the_models_whatever_the_order_asked():
    assert match_names(NAMES, ["unembed.*", "embed.*"]) == ["embed.W_E", "unembed.W_U"]


def test_partition_never_counts_a_head_or_a_role_twice():
    assert partition(NAMES) == [NAMES[0], NAMES[1], NAMES[4], NAMES[5]]
    assert partition([TIED, *NAMES]) == [TIED, NAMES[1], NAMES[4]]
    assert partition(["W_Q[0]", "W_Q[1]"]) == ["W_Q[0]", "W_Q[1]"]
    assert parents("embed.W_E") == (TIED,)
    assert parents("blocks.0.mlp.W_in") == ()


def test_none_is_the_default_and_an_empty_default_is_refused():
    assert select(NAMES, NAMES[:2], None) == NAMES[:2]
    with pytest.raises(ValueError, match="requires_grad_"):
        select(NAMES, [], None)
