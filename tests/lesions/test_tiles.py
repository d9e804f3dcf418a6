"""Sliding windows against MONAI, against networks whose answer is known, and against their memory bound."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from anypet.errors import AnyPETError
from anypet.lesions.depth import Depth
from anypet.lesions.tiles import Tiling, from_arrays, sliding_window, softmax_of, tile_scan

Array = npt.NDArray[Any]


def channels(shape: tuple[int, int, int], count: int = 2, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def identity(logits: torch.Tensor) -> torch.Tensor:
    return logits


def pointwise(batch: torch.Tensor) -> torch.Tensor:
    return torch.cat([batch[:, :1] * 0.5, batch[:, 1:2] ** 2 - 1, batch.sum(1, keepdim=True)], dim=1)


def conv_net(seed: int = 0) -> torch.nn.Module:
    """A small network with a wide field of view and no symmetry."""
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(2, 4, 5, padding=2), torch.nn.Tanh(), torch.nn.Conv3d(4, 3, 5, padding=2)
    )
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return net.eval()


def run(scan: Array, network: Any, **how: Any) -> Array:
    return sliding_window(from_arrays(*scan), scan.shape[1:], network, **how)


@given(st.tuples(*[st.integers(1, 60)] * 3), st.tuples(*[st.integers(1, 20)] * 3), st.floats(0.05, 1.0))
@settings(max_examples=200, deadline=None)
def test_tiles_cover_the_scan_no_farther_apart_than_the_step(
    shape: tuple[int, int, int], window: tuple[int, int, int], step: float
) -> None:
    tiling = tile_scan(shape, window, step)
    assert len(tiling) == math.prod(len(s) for s in tiling.starts)
    for axis, (size, tile, starts) in enumerate(zip(shape, window, tiling.starts, strict=True)):
        covered = np.zeros(size, int)
        for start in starts:
            covered[tiling.inside(axis, start)] += 1
        assert covered.min() >= 1
        gaps = np.diff(starts)
        assert len(starts) == 1 or (starts[0] == 0 and starts[-1] == size - tile)
        assert np.all(gaps > 0)
        # as few as can be: one less would be farther apart than the step
        assert np.all(gaps <= math.ceil(max(1, int(tile * step))))
        if size > tile:
            assert len(starts) == math.ceil((size - tile) / max(1, int(tile * step))) + 1


@pytest.mark.parametrize("average", ["probability", "logit"])
@pytest.mark.parametrize("shape", [(23, 17, 40), (16, 16, 16), (5, 30, 7), (1, 1, 1)])
def test_a_pointwise_network_gives_what_it_gives_without_tiles(
    average: str, shape: tuple[int, int, int]
) -> None:
    scan = channels(shape)
    wanted = torch.softmax(pointwise(torch.from_numpy(scan)[None]), 1)[0, [2, 0]].numpy()
    found = run(scan, pointwise, window=(16, 12, 10), step=0.6, activate=softmax_of(2, 0), average=average)
    assert found.shape == (2, *shape)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(9, 33, 14), (50, 9, 9), (3, 3, 3)])
def test_a_constant_network_gives_a_constant(shape: tuple[int, int, int]) -> None:
    def constant(batch: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.3, -1.2]).view(1, 2, 1, 1, 1).expand(1, 2, *batch.shape[2:])

    found = run(channels(shape), constant, window=(8, 8, 8), step=0.5, depth=Depth(math.inf, 3))
    np.testing.assert_allclose(found, 1 / (1 + math.exp(1.5)), rtol=1e-5)


# Sizes at which MONAI's fixed interval and our even spacing put tiles at the same places.
@pytest.mark.parametrize(
    ("shape", "window", "step"),
    [((24, 16, 40), (16, 16, 16), 0.5), ((20, 8, 11), (8, 8, 8), 0.75), ((7, 30, 21), (10, 10, 10), 1.0)],
)
def test_equals_monais_sliding_window(
    shape: tuple[int, int, int], window: tuple[int, int, int], step: float
) -> None:
    shape = tuple(  # type: ignore[assignment]
        n if n <= w else w + math.ceil((n - w) / int(w * step)) * int(w * step)
        for n, w in zip(shape, window, strict=True)
    )
    scan, net = channels(shape), conv_net()
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in window]
    weights = torch.from_numpy(np.einsum("i,j,k->ijk", *axes).astype(np.float32))
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(scan)[None], window, 1, net, overlap=1 - step, roi_weight_map=weights
        )[0]
        probability = sliding_window_inference(
            torch.from_numpy(scan)[None],
            window,
            1,
            lambda batch: torch.softmax(net(batch), 1),
            overlap=1 - step,
            roi_weight_map=weights,
        )[0]
    found = run(scan, net, window=window, step=step, activate=identity, average="logit")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    found = run(scan, net, window=window, step=step, activate=softmax_of(0, 1, 2))
    np.testing.assert_allclose(found, probability.numpy(), rtol=1e-4, atol=1e-5)


def test_equals_a_blend_written_out_where_tiles_are_unevenly_spaced() -> None:
    scan, net, window = channels((19, 13, 26)), conv_net(), (9, 8, 10)
    tiling = tile_scan(scan.shape[1:], window, 0.7)
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in window]
    weights = np.einsum("i,j,k->ijk", *axes)
    total, norm = np.zeros((3, *scan.shape[1:])), np.zeros(scan.shape[1:])
    for corner in itertools.product(*tiling.starts):
        box = tuple(slice(c, c + n) for c, n in zip(corner, window, strict=True))
        with torch.inference_mode():
            logits = net(torch.from_numpy(scan[:, *box].copy())[None])[0].numpy()
        total[:, *box] += weights * logits
        norm[box] += weights
    found = run(scan, net, window=window, step=0.7, activate=identity, average="logit")
    np.testing.assert_allclose(found, total / norm, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["probability", "logit"])
@pytest.mark.parametrize("axes", [(0,), (2, 0), (1, 0, 2)])
def test_mirroring_is_the_mean_over_flipped_networks(average: str, axes: tuple[int, ...]) -> None:
    scan, net = channels((14, 10, 12)), conv_net()
    how = {"window": (8, 8, 8), "step": 0.5, "average": average}
    flips = [f for n in range(len(axes) + 1) for f in itertools.combinations(axes, n)]
    each = []
    for flip in flips:
        dims = [2 + axis for axis in flip]
        each.append(
            run(
                scan,
                lambda batch, dims=dims: net(batch.flip(dims)).flip(dims),
                activate=softmax_of(1) if average == "probability" else identity,
                **how,
            )
        )
    expected = np.mean(each, axis=0)
    if average == "logit":
        expected = torch.softmax(torch.from_numpy(expected), 0).numpy()[1:2]
    found = run(scan, net, depth=Depth(math.inf, len(axes)), mirror_axes=axes, **how)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_left_and_right_change_names_in_a_mirror() -> None:
    """A network that names the lower half of whatever it sees left and the upper half right."""
    scan, side = channels((8, 10, 12)), torch.linspace(-1, 1, 8)[:, None, None].expand(8, 8, 8)

    def net(batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([-side, side, batch[0, 0]])[None]

    how = {"window": (8, 8, 8), "activate": identity, "mirror_axes": (1, 0, 2)}
    plain = run(scan, net, **how)
    mirrored = run(scan, net, depth=Depth(math.inf, 2), swapped=(1, 0, 2), **how)
    np.testing.assert_allclose(mirrored, plain, atol=1e-6)
    confused = run(scan, net, depth=Depth(math.inf, 2), **how)
    np.testing.assert_allclose(confused[:2], 0, atol=1e-6)


def test_half_precision_is_as_good_as_it_can_be() -> None:
    scan, net, how = channels((14, 10, 12)), conv_net(), {"window": (8, 8, 8), "step": 0.5}
    exact = run(scan, net, depth=Depth(math.inf, 3), **how)
    half = run(scan, net, depth=Depth(math.inf, 3), dtype=np.float16, **how)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, exact, atol=2e-3)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("average", ["probability", "logit"])
def test_a_pass_that_is_broken_off_leaves_no_trace(average: str) -> None:
    """Tiles slow down in the middle of the sixth pass: the result is the mean of the first five."""
    scan, net, clock = channels((14, 10, 12)), conv_net(), Clock()
    how = {"window": (8, 8, 8), "step": 0.5, "average": average, "mirror_axes": (2, 1, 0)}
    tiles = len(tile_scan(scan.shape[1:], (8, 8, 8), 0.5))
    count = itertools.count()

    def slowing(batch: torch.Tensor) -> torch.Tensor:
        clock.now += 1.0 if next(count) < 5.5 * tiles else 50.0
        return net(batch)

    depth = Depth(9.0 * tiles, clock=clock)
    found = run(scan, slowing, depth=depth, **how)
    assert depth.report().passes == 5
    each = []
    for flip in [(), (2,), (1,), (2, 1), (0,)]:
        dims = [2 + axis for axis in flip]
        each.append(
            run(
                scan,
                lambda batch, dims=dims: net(batch.flip(dims)).flip(dims),
                **{**how, "activate": softmax_of(1) if average == "probability" else identity},
            )
        )
    expected = np.mean(each, axis=0)
    if average == "logit":
        expected = torch.softmax(torch.from_numpy(expected), 0).numpy()[1:2]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(20, 16, 24), (33, 20, 16), (8, 8, 8)])
@pytest.mark.parametrize(("passes_in_limit", "axes"), [(1.5, 0), (3.0, 1), (6.0, 2), (8.5, 3)])
def test_the_time_limit_is_kept_over_whole_scans(
    size: tuple[int, int, int], passes_in_limit: float, axes: int
) -> None:
    clock, tiles, ran = Clock(), len(tile_scan(size, (8, 8, 8), 0.5)), []

    def network(batch: torch.Tensor) -> torch.Tensor:
        clock.now += 0.25
        ran.append(1)
        return batch

    limit = passes_in_limit * tiles * 0.25
    depth = Depth(limit, clock=clock)
    run(channels(size), network, window=(8, 8, 8), step=0.5, depth=depth)
    assert depth.report().axes == axes
    assert len(ran) == 2**axes * tiles
    assert clock.now <= 1.05 * limit


def test_scans_smaller_than_the_window_are_padded_with_the_fill_and_cropped() -> None:
    scan, seen = channels((3, 20, 4)), []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.clone())
        return batch

    found = run(scan, network, window=(8, 8, 8), activate=identity, fill=(-1.0, 7.0))
    np.testing.assert_allclose(found, scan, atol=1e-6)
    first = seen[0][0].numpy()
    assert first.shape == (2, 8, 8, 8)
    # (8 - 3) // 2 and (8 - 4) // 2 planes before, as MONAI and nnU-Net pad
    np.testing.assert_array_equal(first[:, 2:5, :, 2:6], scan[:, :, :8, :])
    assert (first[0, :2] == -1).all()
    assert (first[1, 5:] == 7).all()
    assert (first[0, :, :, :2] == -1).all()


def test_a_callable_is_only_asked_for_boxes_within_the_scan() -> None:
    shape, asked = (20, 9, 5), []

    def cut(box: tuple[slice, slice, slice]) -> Array:
        asked.append(box)
        i, j, k = (np.arange(s.start, s.stop, dtype=np.float32) for s in box)
        return (i[:, None, None] * 100 + j[:, None] * 10 + k)[None]

    found = sliding_window(cut, shape, identity, window=(8, 8, 8), activate=identity)
    expected = (np.indices(shape) * np.array([100, 10, 1]).reshape(3, 1, 1, 1)).sum(0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert all(0 <= s.start < s.stop <= n for box in asked for s, n in zip(box, shape, strict=True))


def test_progress_counts_every_tile() -> None:
    seen: list[tuple[int, int]] = []
    run(
        channels((20, 8, 8)),
        pointwise,
        window=(8, 8, 8),
        depth=Depth(math.inf, 1),
        progress=lambda done, planned: seen.append((done, planned)),
    )
    tiles = len(tile_scan((20, 8, 8), (8, 8, 8)))
    assert seen == [(n, 2 * tiles) for n in range(1, 2 * tiles + 1)]


def test_memory_is_the_result_and_one_row_of_tiles(tmp_path: Path) -> None:
    shape, window = (200, 200, 300), (64, 64, 64)
    scan = np.memmap(tmp_path / "scan", np.float16, "w+", shape=shape)
    scan[100, 100, ::7] = 1

    def network(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch, -batch], dim=1)

    tracemalloc.start()
    found = sliding_window(from_arrays(scan), shape, network, window=window, step=1.0, dtype=np.float16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    result, buffer, tile = 2 * math.prod(shape), 4 * 200 * 200 * 64, 4 * 64**3
    assert found.nbytes == result
    # the naive way holds logits of all classes and a map of weights in float32, six times the result
    assert peak < result + buffer + 6 * tile
    assert found[0, 100, 100, 7] == pytest.approx(1 / (1 + math.exp(2)), abs=1e-3)
    assert found[0, 0, 0, 0] == pytest.approx(0.5, abs=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    scan, how = channels((10, 10, 10)), {"window": (8, 8, 8)}
    with pytest.raises(AnyPETError, match="one shape"):
        from_arrays(scan[0], scan[1, :4])
    for wrong in ({"window": (8, 8)}, {"window": (8, 8, 0)}, {"step": 0.0}, {"step": 1.2}):
        with pytest.raises(AnyPETError, match=r"window|step"):
            run(scan, pointwise, **{**how, **wrong})
    with pytest.raises(AnyPETError, match="mirror axes"):
        run(scan, pointwise, mirror_axes=(0, 0), **how)
    with pytest.raises(AnyPETError, match="expected"):
        sliding_window(lambda box: scan[0], (10, 10, 10), pointwise, **how)
    with pytest.raises(AnyPETError, match="own size"):
        run(scan, lambda batch: batch[..., ::2], **how)
    with pytest.raises(AnyPETError, match="finite"):
        run(scan, lambda batch: batch * math.nan, **how)


def test_a_tiling_says_where_its_tiles_are() -> None:
    tiling = tile_scan((20, 5, 8), (8, 8, 8), 0.5)
    assert tiling == Tiling((20, 5, 8), (8, 8, 8), ((0, 4, 8, 12), (-1,), (0,)))
    assert len(tiling) == 4
