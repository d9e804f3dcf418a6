"""The SegAnyPET network: keys, parity with the released one, and its model interface."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from anypet.errors import AnyPETError, PromptError, WeightsError
from anypet.models.base import Embedding
from anypet.models.segany import VIT_B_ORI, NetworkConfig, SegAny, SegAnyNetwork, build
from anypet.models.segany.config import CONFIGS
from anypet.models.segany.model import resample_logits, z_normalise
from anypet.models.segany.network import config_of
from anypet.models.weights import load_strictly, uninitialised
from anypet.prompts import WindowPrompts

TINY = NetworkConfig(image_size=64, dim=48, depth=2, heads=3, global_blocks=(1,), window=7, embed_dim=48)


@pytest.fixture(scope="session")
def fill(parity_folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity_fill", parity_folder / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def expected(parity_folder: Path) -> dict[str, torch.Tensor]:
    with np.load(parity_folder / "vit_b_ori_outputs.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored}


@pytest.fixture(scope="session")
def network(fill: ModuleType) -> SegAnyNetwork:
    """The released network with the reference's weights, once for all tests."""
    with uninitialised():
        network = SegAnyNetwork(VIT_B_ORI)
    weights = fill.fill(network.state_dict())
    load_strictly(network, {key: torch.from_numpy(value) for key, value in weights.items()}, "segany")
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def embedding(network: SegAnyNetwork, fill: ModuleType) -> torch.Tensor:
    with torch.inference_mode():
        return network.encode(torch.from_numpy(fill.image()))


@pytest.fixture
def tiny() -> SegAny:
    torch.manual_seed(0)
    network = SegAnyNetwork(TINY)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return SegAny(network)


def clicks(*points: tuple[float, float, float], labels: tuple[int, ...] | None = None) -> WindowPrompts:
    return WindowPrompts(
        np.array(points, dtype=float).reshape(-1, 3), np.array(labels or [1] * len(points), dtype=np.int64)
    )


@pytest.mark.parametrize("variant", ["vit_b_ori", "vit_b"])
def test_state_dict_is_the_published_one(parity_folder: Path, variant: str) -> None:
    with (parity_folder / "segany_state_dict.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["variant"] == variant]
    with uninitialised():
        network = SegAnyNetwork(CONFIGS[variant])
    state = network.state_dict()
    assert {k: "x".join(map(str, t.shape)) for k, t in state.items()} == {r["key"]: r["shape"] for r in rows}
    parameters = dict(network.named_parameters())
    assert {r["key"] for r in rows if r["kind"] == "param"} == set(parameters)
    assert sum(p.numel() for p in parameters.values()) == sum(
        int(r["numel"]) for r in rows if r["kind"] == "param"
    )


def test_vit_b_ori_has_the_published_number_of_parameters() -> None:
    with uninitialised():
        assert sum(p.numel() for p in SegAnyNetwork(VIT_B_ORI).parameters()) == 100_509_232


def test_image_embedding_matches_the_released_network(
    embedding: torch.Tensor, expected: dict[str, torch.Tensor]
) -> None:
    torch.testing.assert_close(embedding, expected["image_embedding"], rtol=0, atol=1e-4)


def _kernels_of_the_reference() -> bool:
    """Whether this processor has those that the reference was computed with: AVX2, as AMD's run them."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "AuthenticAMD" in described and " avx2 " in described


@pytest.mark.skipif(not _kernels_of_the_reference(), reason="no AMD processor with AVX2")
def test_released_order_gives_the_released_numbers(parity_folder: Path) -> None:
    """All outputs, masks included, where nothing is rounded otherwise; the folded way for the embedding."""
    script = Path(__file__).parents[2] / "benchmarks" / "parity.py"
    done = subprocess.run(
        [sys.executable, str(script), str(parity_folder), "--json"], check=True, stdout=subprocess.PIPE
    )
    found = json.loads(done.stdout)
    assert len(found["released order"]) == 6
    assert max(found["released order"].values()) < 1e-3
    assert found["folded"]["image_embedding"] < 1e-4


# With other kernels, each mask decoded from the reference's own previous mask. The reference's weights make
# the decoder's attention logits some hundred wide (the keys with "token" in their name are drawn with a
# standard deviation of 0.5), so that a change of 3e-6 in the embedding, which is float32 rounding, moves a
# logit by up to 0.1; evaluating the same network in float64 moves it as much. A wrong operation anywhere
# moves it by 2 or more.
@pytest.mark.parametrize(
    ("key", "shown", "previous"),
    [
        ("mask_1_click", slice(0, 1), None),
        ("mask_2_clicks_prev", slice(0, 2), "mask_1_click"),
        ("mask_3_clicks_prev", slice(0, 3), "mask_2_clicks_prev"),
        ("mask_prompt_only", slice(0, 0), "mask_3_clicks_prev"),
        ("mask_last_click_only", slice(2, 3), None),
    ],
)
def test_masks_match_the_released_network(
    network: SegAnyNetwork,
    embedding: torch.Tensor,
    expected: dict[str, torch.Tensor],
    key: str,
    shown: slice,
    previous: str | None,
) -> None:
    model = SegAny(network)
    prompts = WindowPrompts(
        expected["points"][shown].double().numpy(), expected["labels"][shown].numpy().astype(np.int64)
    )
    before = expected[previous] if previous else None
    own = model.decode(Embedding((embedding,)), prompts, before)
    theirs = model.decode(Embedding((expected["image_embedding"],)), prompts, before)
    torch.testing.assert_close(own, expected[key], rtol=0, atol=0.3)
    assert (own - expected[key]).abs().mean() < 5e-3
    torch.testing.assert_close(theirs, expected[key], rtol=0, atol=0.1)
    assert (theirs - expected[key]).abs().mean() < 1e-3


def test_folded_window_equals_the_padded_one(network: SegAnyNetwork) -> None:
    block = network.image_encoder.blocks[0]
    tokens = torch.randn(1, 8, 8, 8, 768, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(block(tokens), block(tokens, fast=False), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("grid", "window"), [(4, 7), (4, 5), (4, 4), (6, 4), (3, 8)])
def test_every_way_of_attending_agrees(grid: int, window: int) -> None:
    torch.manual_seed(1)
    network = SegAnyNetwork(
        NetworkConfig(
            image_size=16 * grid, dim=24, depth=2, heads=3, global_blocks=(1,), window=window, embed_dim=24
        )
    ).double()
    for parameter in network.image_encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    image = torch.randn(1, 1, *(16 * grid,) * 3, dtype=torch.float64)
    fast = network.encode(image)
    network.image_encoder.fast = False
    torch.testing.assert_close(fast, network.encode(image), rtol=1e-9, atol=1e-9)


def test_bias_pairs_the_axes_as_the_released_code_does() -> None:
    torch.manual_seed(2)
    attention = SegAnyNetwork(TINY).image_encoder.blocks[1].attn
    for axis in "dhw":
        torch.nn.init.normal_(getattr(attention, f"rel_pos_{axis}"))
    n = 4
    q = torch.randn(1, 3, n, n, n, 16)
    bias = attention._bias(q, q).on_keys(n).view(3, n, n, n, n, n, n)
    for qd, qh, qw, kd, kh, kw in [(0, 1, 2, 3, 0, 1), (3, 2, 1, 0, 1, 2), (1, 1, 3, 2, 3, 0)]:
        want = (
            q[0, :, qd, qh, qw] @ attention.rel_pos_d[qd - kw + n - 1]
            + q[0, :, qd, qh, kd] @ attention.rel_pos_h[qh - kw + n - 1]
            + q[0, :, qd, qh, kh] @ attention.rel_pos_w[kh - kw + n - 1]
        )
        torch.testing.assert_close(bias[:, qd, qh, qw, kd, kh, kw], want, rtol=1e-4, atol=1e-4)


def test_dense_positions_swap_the_first_two_axes() -> None:
    encoder = SegAnyNetwork(TINY).prompt_encoder.pe_layer
    dense = encoder.grid(4)[0]
    cell = encoder((torch.tensor([1.0, 3.0, 2.0]) + 0.5) / 4)
    torch.testing.assert_close(dense[:, 3, 1, 2], cell)
    assert not torch.allclose(dense[:, 1, 3, 2], cell)


def test_positions_repeat_the_sine() -> None:
    parts = SegAnyNetwork(TINY).prompt_encoder.pe_layer(torch.rand(5, 3)).chunk(3, dim=-1)
    assert torch.equal(parts[0], parts[2])
    torch.testing.assert_close(parts[0] ** 2 + parts[1] ** 2, torch.ones_like(parts[0]))


def test_clicks_become_one_token_each_and_a_pad() -> None:
    encoder = SegAnyNetwork(TINY).prompt_encoder
    tokens = encoder.sparse(torch.rand(1, 2, 3) * 64, torch.tensor([[1, 0]]))
    assert tokens.shape == (1, 3, 48)
    assert torch.equal(tokens[:, 2], encoder.not_a_point_embed.weight)
    assert encoder.sparse(torch.zeros(1, 0, 3), torch.zeros(1, 0, dtype=torch.int64)).shape == (1, 0, 48)


def test_spec_says_what_the_model_takes(network: SegAnyNetwork) -> None:
    spec = SegAny(network).spec
    assert (spec.name, spec.window, spec.spacings) == ("segany-vit-b", (128, 128, 128), (1.5, 1.5))
    assert not spec.needs_anchor
    assert spec.prompts == {"point", "mask"}


def test_encode_then_decode(tiny: SegAny) -> None:
    suv = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0)) * 5
    embedding = tiny.encode(suv, 1.5)
    assert embedding.tensors[0].shape == (1, 48, 4, 4, 4)
    assert embedding.nbytes == 4 * 48 * 64
    first = tiny.decode(embedding, clicks((10, 20, 30)))
    assert first.shape == (1, 1, 16, 16, 16)
    assert first.dtype == torch.float32
    zeros = torch.zeros(1, 1, 16, 16, 16)
    assert torch.equal(first, tiny.decode(embedding, clicks((10, 20, 30)), zeros))
    second = tiny.decode(embedding, clicks((10, 20, 30), (40, 9, 9), labels=(1, 0)), first)
    assert not torch.equal(first, second)
    assert tiny.decode(embedding, WindowPrompts(), second).shape == first.shape


def test_normalisation_is_scale_free(tiny: SegAny) -> None:
    suv = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    a, b = (tiny.encode(suv * f, 1.5).tensors[0] for f in (1.0, 7.0))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_latest_policy_passes_the_last_click_alone(tiny: SegAny) -> None:
    latest = SegAny(tiny.network, clicks="latest")
    embedding = Embedding((torch.randn(1, 48, 4, 4, 4),))
    previous = torch.randn(1, 1, 16, 16, 16)
    both = clicks((10, 20, 30), (40, 9, 9), labels=(0, 1))
    got = latest.decode(embedding, both, previous)
    assert torch.equal(got, tiny.decode(embedding, clicks((40, 9, 9)), previous))
    assert not torch.equal(got, tiny.decode(embedding, both, previous))


def test_previous_logits_of_the_window_are_averaged(tiny: SegAny) -> None:
    embedding = Embedding((torch.randn(1, 48, 4, 4, 4),))
    coarse = torch.randn(1, 1, 16, 16, 16)
    fine = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    torch.testing.assert_close(
        tiny.decode(embedding, clicks((1, 2, 3)), fine), tiny.decode(embedding, clicks((1, 2, 3)), coarse)
    )
    assert resample_logits(coarse[..., :8, :8, :8], 16).shape == coarse.shape


def test_boxes_and_empty_prompts_are_refused(tiny: SegAny) -> None:
    embedding = Embedding((torch.zeros(1, 48, 4, 4, 4),))
    with pytest.raises(PromptError, match="not boxes"):
        tiny.decode(embedding, WindowPrompts(boxes=np.zeros((1, 2, 3))))
    with pytest.raises(PromptError, match="a click or a previous mask"):
        tiny.decode(embedding, WindowPrompts())


def test_wrong_windows_are_refused(tiny: SegAny) -> None:
    with pytest.raises(AnyPETError, match="takes"):
        tiny.encode(torch.zeros(1, 1, 32, 64, 64), 1.5)
    with pytest.raises(AnyPETError, match=r"1\.5 mm"):
        tiny.encode(torch.zeros(1, 1, 64, 64, 64), 3.0)
    with pytest.raises(AnyPETError, match="clicks"):
        SegAny(tiny.network, clicks="some")  # type: ignore[arg-type]


def test_z_normalise_uses_the_voxels_above_zero() -> None:
    image = torch.zeros(1, 1, 2, 2, 2)
    image[0, 0, 0] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    out = z_normalise(image)
    std = np.std([1, 2, 3, 6], ddof=1)
    np.testing.assert_allclose(out[0, 0, 0].numpy().ravel(), (np.array([1, 2, 3, 6]) - 3) / std, rtol=1e-6)
    np.testing.assert_allclose(out[0, 0, 1].numpy(), -3 / std, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 4.0])
def test_a_window_without_contrast_is_encoded_as_empty(value: float) -> None:
    assert not z_normalise(torch.full((1, 1, 2, 2, 2), value)).any()


def test_a_window_that_is_not_finite_is_refused() -> None:
    image = torch.ones(1, 1, 2, 2, 2)
    image[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(AnyPETError, match="finite"):
        z_normalise(image)


def test_build_names_what_does_not_fit(network: SegAnyNetwork) -> None:
    state = dict(network.state_dict())
    assert build(state, {"name": "mine"}).spec.name == "mine"
    gone = state.pop("mask_decoder.iou_token.weight")
    state["mask_decoder.extra"] = gone
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(3, 384)
    with pytest.raises(WeightsError) as caught:
        build(state)
    message = str(caught.value)
    assert "1 missing: mask_decoder.iou_token.weight" in message
    assert "1 unexpected: mask_decoder.extra" in message
    assert "mask_decoder.mask_tokens.weight (3x384, expected 4x384)" in message


def test_configuration_is_told_from_the_state_dict() -> None:
    pos = torch.zeros(1, 16, 16, 16, 384, device="meta")
    assert config_of({"image_encoder.pos_embed": pos}) is CONFIGS["vit_b"]
    assert config_of({}) is VIT_B_ORI


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same(tiny: SegAny) -> None:
    suv = torch.rand(1, 1, 64, 64, 64)
    want = tiny.decode(tiny.encode(suv, 1.5), clicks((10, 20, 30)))
    gpu = SegAny(tiny.network, "cuda")
    got = gpu.decode(gpu.encode(suv, 1.5), clicks((10, 20, 30))).cpu()
    tiny.network.cpu()
    torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)
