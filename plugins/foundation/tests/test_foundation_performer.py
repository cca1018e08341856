"""Performer attention, against the formula written out, and against published outputs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from pertharness_foundation.checkpoint import KeyRules, load_state, read_state_dict

torch = pytest.importorskip("torch")
from pertharness_foundation.performer import Attention, Performer, draw_projection  # noqa: E402

FIXTURES = Path(os.environ.get("PERTHARNESS_SHARED") or Path(__file__).parents[4] / "shared") / "fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no folder {FIXTURES}")
EXTENDED = -3  # what the tests below take for a constant maximum


def small(**more):
    torch.manual_seed(0)
    return Performer(12, 2, 3, 8, **more).eval().double()


def written_out(attention, x, maximum):
    """Return the attention of one layer by loops over cells, heads and positions."""
    w = attention.fast_attention.projection_matrix
    m, d = w.shape
    s = d**-0.25
    layers = (attention.to_q, attention.to_k, attention.to_v)
    q, k, v = (layer(x).reshape(*x.shape[:2], attention.heads, d) for layer in layers)
    exponents = s * k @ w.T - (k**2).sum(-1, keepdim=True) * s * s / 2
    u_max = {"batch": (s * k @ w.T).max(), "cell": (s * k @ w.T).amax((1, 2, 3), keepdim=True)}.get(maximum, maximum)
    phi_k = (torch.exp(exponents - u_max) + 1e-4) / math.sqrt(m)
    out = torch.zeros_like(q)
    for cell in range(x.shape[0]):
        for head in range(attention.heads):
            for position in range(x.shape[1]):
                u = s * w @ q[cell, position, head]
                n = (q[cell, position, head] ** 2).sum() * s * s / 2
                phi_q = (torch.exp(u - n - u.max()) + 1e-4) / math.sqrt(m)
                weights = phi_k[cell, :, head] @ phi_q
                out[cell, position, head] = weights @ v[cell, :, head] / weights.sum()
    return attention.to_out(out.reshape(*x.shape[:2], -1))


@pytest.mark.parametrize("maximum", ["batch", "cell", EXTENDED])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_is_the_formula(maximum, bias):
    torch.manual_seed(1)
    attention = Attention(12, 3, 8, 16, bias=bias).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(attention(x, maximum), written_out(attention, x, maximum), rtol=1e-10, atol=1e-12)


def test_the_same_with_and_without_gradients():
    module, x = small(), torch.randn(2, 7, 12, dtype=torch.float64)
    with torch.no_grad():
        plain = module(x)
    torch.testing.assert_close(module(x), plain, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    module, x = small(key_maximum=0.5), torch.randn(1, 3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_only_the_published_maximum_makes_a_cell_depend_on_its_batch():
    x = torch.randn(3, 7, 12, dtype=torch.float64)
    for maximum, depends in (("batch", True), ("cell", False), (2.0, False)):
        module = small(key_maximum=maximum)
        alone = torch.cat([module(x[i : i + 1]) for i in range(3)])
        assert torch.allclose(module(x), alone, atol=1e-9) is not depends


@pytest.mark.parametrize("maximum", ["batch", "cell", EXTENDED])
def test_repeated_rows_are_those_of_the_sequence_written_out(maximum):
    module = small(key_maximum=maximum)
    rows = torch.randn(4, 12, dtype=torch.float64)
    rows[3] *= 50  # that of a token which no cell has: its keys would be the largest
    repeats = torch.tensor([[3, 1, 2, 0], [0, 5, 1, 0]])
    written = torch.stack([rows.repeat_interleave(counts, dim=0) for counts in repeats])
    short = module(rows.expand(2, 4, 12), repeats)
    for cell, counts in enumerate(repeats):
        expected = module(written)[cell]
        torch.testing.assert_close(short[cell].repeat_interleave(counts, dim=0), expected, rtol=1e-10, atol=1e-12)


def test_features_are_orthogonal_in_blocks_and_drawn_from_the_generator():
    matrix = draw_projection(20, 8, torch.Generator().manual_seed(3))
    unit = matrix / matrix.norm(dim=1, keepdim=True)
    for block in (unit[:8], unit[8:16], unit[16:]):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), atol=1e-5, rtol=0)
    assert torch.equal(matrix, draw_projection(20, 8, torch.Generator().manual_seed(3)))
    lengths = draw_projection(4000, 8).norm(dim=1)
    assert abs(float((lengths**2).mean()) - 8) < 0.3  # of a Gaussian vector of 8 dimensions


def test_features_are_drawn_again_after_1000_calls_in_training_mode():
    module, x = small(), torch.randn(1, 2, 12, dtype=torch.float64)
    first = module.net.layers[0][0].fn.fast_attention.projection_matrix
    before = first.clone()
    module.calls_since_last_redraw.fill_(1000)
    module(x)
    assert torch.equal(first, before)  # evaluation does not count
    module.train()
    module(x)
    assert int(module.calls_since_last_redraw) == 0
    assert not torch.equal(first, before)
    module(x)
    assert int(module.calls_since_last_redraw) == 1


def test_features_by_default_are_as_many_as_published():
    with torch.device("meta"):
        module = Performer(200, 6, 10)
    assert module.net.layers[5][0].fn.fast_attention.projection_matrix.shape == (266, 64)
    assert module.net.layers[0][0].fn.to_q.weight.shape == (640, 200)
    assert module.net.layers[0][1].fn.fn.w1.weight.shape == (800, 200)


def filled(state, prefix, *shape, **more):
    """Return the Performer of a published state, and no key of it left over."""
    module = Performer(*shape, **more).eval()
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    rules = KeyRules(loads=("*",), rename=lambda key: key.removeprefix(prefix))
    counts = load_state(module, own, rules, source="fixture")
    assert counts.fresh == 0
    return module


def norm(state, name, x):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


@pytest.mark.reference
@needs_fixtures
def test_encodings_of_scbert():
    with np.load(FIXTURES / "scbert" / "io.npz") as arrays:
        io = dict(arrays)
    state = read_state_dict(FIXTURES / "scbert" / "state_dict.pt")
    module = filled(state, "performer.", 40, 2, 4, 16)
    tokens = state["token_emb.weight"][torch.as_tensor(io["tokens"])]
    with_positions = (tokens + state["pos_emb.emb.weight"]).float()
    with torch.no_grad():
        for x, name in ((with_positions, "encodings_pos_batch_of_one"), (tokens, "encodings_nopos_batch_of_one")):
            alone = torch.cat([norm(state, "norm", module(cell[None])) for cell in x])
            np.testing.assert_allclose(alone, io[name], atol=1e-5)
        together = norm(state, "norm", module(with_positions))
        np.testing.assert_allclose(together, io["encodings_pos"], atol=1e-5)
        logits = together @ state["to_out.weight"].T + state["to_out.bias"]
        np.testing.assert_allclose(logits, io["mlm_logits_pos"], atol=1e-5)
        module.key_maximum = "cell"
        np.testing.assert_allclose(
            norm(state, "norm", module(with_positions)), io["encodings_pos_batch_of_one"], atol=1e-5
        )


@pytest.mark.reference
@needs_fixtures
def test_decoder_of_scfoundation():
    with np.load(FIXTURES / "scfoundation" / "io.npz") as arrays:
        io = {name: torch.as_tensor(values) for name, values in arrays.items()}
    state = read_state_dict(FIXTURES / "scfoundation" / "models_tiny.ckpt", at=("gene", "state_dict"), prefix="model.")
    module = filled(state, "decoder.performer.", 32, 2, 4, 16, bias=True)
    hidden = io["binned"][..., None] * state["token_emb.mlp.weight"][:, 0] + state["token_emb.mlp.bias"]
    hidden = torch.nn.functional.leaky_relu(hidden, 0.1)
    logits = hidden + hidden @ state["token_emb.mlp2.weight"].T + state["token_emb.mlp2.bias"]
    x = logits.softmax(-1) @ state["token_emb.emb.weight"]
    for cell, (rows, is_padding) in enumerate(zip(io["encoder_position_gene_ids"], io["encoder_padding"], strict=True)):
        x[cell, rows[~is_padding]] = io["encoder_output"][cell, ~is_padding]
    x = x + state["pos_emb.weight"][:-1]
    x = x @ state["decoder_embed.weight"].T + state["decoder_embed.bias"]
    with torch.no_grad():
        together = norm(state, "norm", norm(state, "decoder.norm", module(x)))
        np.testing.assert_allclose(together, io["gene_embedding_all"], atol=1e-5)
        alone = torch.cat([norm(state, "norm", norm(state, "decoder.norm", module(cell[None]))) for cell in x])
        np.testing.assert_allclose(alone[:, :-2], io["gene_embedding_batch_of_one"], atol=1e-5)
