"""Lesions of two visits: planted changes in bodies that moved, and the rules of matching by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from anypet.errors import AnyPETError
from anypet.quantify.matching import Match, match_lesions
from anypet.quantify.measures import measure
from anypet.quantify.parts import split_into_lesions
from anypet.quantify.regions import liver_sphere
from anypet.quantify.registration import Alignment, align
from anypet.quantify.response import TimePoint, percist
from anypet.quantify.suv import Patient, as_suv
from anypet.volume import Volume
from spheres import ball, empty

PATIENT = Patient(75.0, 1.75, "M")
LIVER, LIVER_RADIUS = np.array([40.0, 0.0, 20.0]), 34.0
# where lesions may be: apart from each other and from the organs
SITES = np.array(
    [[-60, 10, 120], [0, -25, 90], [55, 15, 110], [-45, -10, 20], [-50, 20, -60], [10, 30, -90], [60, 5, -80]]
)


@dataclass(frozen=True)
class Lesion:
    site: int
    radius: float
    suv: float


def visit(
    lesions: list[Lesion], rng: np.random.Generator, pose: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[Volume, Volume]:
    """A body with organs and lesions, moved by a pose (4 x 4, RAS mm), blurred, noisy; and lesion labels."""
    grid = empty(spacing, 10.0)
    shape = tuple(int(np.ceil(extent / s)) for extent, s in zip((240, 160, 340), spacing, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    scan = Volume(np.zeros(shape, np.float32), affine, "SUVbw")
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    back = np.linalg.inv(pose)
    x = scan.to_mm(voxels) @ back[:3, :3].T + back[:3, 3]  # places in the body's own frame

    def inside(centre: np.ndarray | tuple[float, ...], radii: float | tuple[float, ...]) -> np.ndarray:
        return np.asarray((((x - np.array(centre)) / np.array(radii)) ** 2).sum(-1) <= 1)

    array = np.full(shape, 0.02)
    array[inside((0, 0, 0), (95, 60, 160))] = 0.8
    array[inside((-35, 10, 60), (28, 35, 50))] = 0.3
    array[inside((35, 10, 75), (28, 35, 40))] = 0.3
    array[inside(LIVER, LIVER_RADIUS)] = 2.4
    array[inside((-15, 20, 55), 22)] = 4.0
    array[inside((0, -20, -30), (14, 14, 110))] = 1.4
    array[inside((0, 15, -120), 18)] = 9.0
    labels = np.zeros(shape, np.uint8)
    for n, lesion in enumerate(lesions, start=1):
        mask = inside(SITES[lesion.site], lesion.radius)
        array[mask], labels[mask] = lesion.suv, n
    blurred = ndimage.gaussian_filter(array, 2.5 / np.array(spacing))
    noisy = np.clip(blurred * rng.normal(1, 0.05, shape), 0, None).astype(np.float32)
    names = {n: f"site {lesion.site}" for n, lesion in enumerate(lesions, start=1)}
    return scan.with_array(noisy), Volume(labels, affine, "label", {"names": names})


def pose(rng: np.random.Generator) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-6, 6, 3), degrees=True).as_matrix()
    matrix[:3, 3] = rng.uniform(-15, 15, 3)
    return matrix


PLANS = ("PMR", "PMD hotter", "PMD new", "SMD", "CMR")


def planted(plan: str, rng: np.random.Generator) -> tuple[list[Lesion], list[Lesion]]:
    """Lesions before and after, for a plan; sites and sizes are random."""
    sites = [int(n) for n in rng.permutation(len(SITES))]
    before = [Lesion(site, float(rng.uniform(12, 16)), float(rng.uniform(7, 10))) for site in sites[:3]]
    factor = {"PMR": 0.45, "PMD hotter": 1.7, "PMD new": 0.6, "SMD": 1.05, "CMR": 0.0}[plan]
    after = [Lesion(lesion.site, lesion.radius, factor * lesion.suv) for lesion in before if factor]
    if plan == "PMR":
        after = after[:2]  # one has vanished
    if plan == "PMD new":
        after.append(Lesion(sites[3], 13.0, 6.0))
    return before, after


@pytest.mark.parametrize("case", range(len(PLANS)))
def test_planted_change_is_found(case: int) -> None:
    """PERCIST's category, new and vanished lesions of a body that has moved, on another grid."""
    rng = np.random.default_rng(case)
    plan = PLANS[case % len(PLANS)]
    before, after = planted(plan, rng)
    first, first_labels = visit(before, rng, np.eye(4), (5.0, 5.0, 5.0))
    last, last_labels = visit(after, rng, moved := pose(rng), (4.7, 4.7, 6.0))
    alignment = align(first, last)
    found = match_lesions(first, first_labels, last, last_labels, alignment)
    same = {s for m in found.of("same") for s in m.baseline}
    sites = [{f"site {lesion.site}" for lesion in lesions} for lesions in (before, after)]
    assert all(m.baseline == m.followup for m in found.of("same"))
    assert same == sites[0] & sites[1]
    assert set(found.new) == sites[1] - sites[0]
    assert set(found.vanished) == sites[0] - sites[1]
    points = []
    for scan, labels, frame in ((first, first_labels, np.eye(4)), (last, last_labels, moved)):
        sul = as_suv(scan, "lbm", PATIENT)
        centre = frame[:3, :3] @ LIVER + frame[:3, 3]
        liver = liver_sphere(sul, ball(sul, tuple(centre), LIVER_RADIUS - 4))
        points.append(TimePoint(measure(sul, labels, suv="lbm", patient=PATIENT), liver, uptake_minutes=60.0))
    proposal = percist(points[0], points[1], found.new)
    assert proposal.result == plan.split()[0]
    assert proposal.warnings == ()


def test_registration_finds_the_pose() -> None:
    rng = np.random.default_rng(3)
    lesions = planted("SMD", rng)[0]
    moved = pose(rng)
    first, _ = visit(lesions, rng, np.eye(4), (5.0, 5.0, 5.0))
    last, _ = visit(lesions, rng, moved, (4.7, 4.7, 6.0))
    expected = SITES @ moved[:3, :3].T + moved[:3, 3]
    for model in ("rigid", "affine"):
        found = align(first, last, model)  # type: ignore[arg-type]
        assert np.linalg.norm(found.move(SITES) - expected, axis=1).max() < 4.0
        assert found.model == model
        assert found.quality < 0


def test_another_table_and_a_shorter_scan() -> None:
    """The second scan stands 400 mm elsewhere and ends at mid-thigh: middles and coordinates both mislead."""
    rng = np.random.default_rng(8)
    lesions = planted("SMD", rng)[0]
    moved = pose(rng)
    first, _ = visit(lesions, rng, np.eye(4), (5.0, 5.0, 5.0))
    last, _ = visit(lesions, rng, moved, (4.7, 4.7, 6.0))
    affine = last.affine.copy()
    affine[:3, 3] = last.to_mm((0, 0, 18)) + (30.0, -20.0, 400.0)  # a third of the slices is cut off
    short = Volume(last.array[:, :, 18:], affine, last.unit)
    expected = SITES @ moved[:3, :3].T + moved[:3, 3] + (30.0, -20.0, 400.0)
    for one, other, places, wanted in ((first, short, SITES, expected), (short, first, expected, SITES)):
        found = align(one, other).move(places)
        assert np.linalg.norm(found - wanted, axis=1).max() < 5.0


def test_free_form_registration_follows_a_bend() -> None:
    """The body is bent to the front in the middle and to the back at its ends, by 12 mm."""

    def bend(z: np.ndarray) -> np.ndarray:
        return 12 * np.cos(np.pi * z / 150)

    rng = np.random.default_rng(4)
    first, _ = visit(planted("SMD", rng)[0], rng, np.eye(4), (6.0, 6.0, 6.0))
    shown = np.stack(np.meshgrid(*(np.arange(float(n)) for n in first.shape), indexing="ij"), -1)
    shown[..., 1] -= bend(first.to_mm(shown)[..., 2]) / 6.0
    array = ndimage.map_coordinates(first.array, np.moveaxis(shown, -1, 0), order=1)
    last = first.with_array(array.astype(np.float32))
    places = np.array([[0.0, 0.0, z] for z in (-130, -70, 0, 70, 130)])
    expected = places + np.outer(bend(places[:, 2]), [0, 1, 0])
    rigid, free = (
        np.linalg.norm(align(first, last, model).move(places) - expected, axis=1).max()  # type: ignore[arg-type]
        for model in ("rigid", "bspline")
    )
    assert rigid > 10
    assert free < 6


def test_what_cannot_be_registered() -> None:
    scan = empty((6.0, 6.0, 6.0), 60.0)
    with pytest.raises(AnyPETError, match="rigid, affine, bspline"):
        align(scan, scan, "elastic")  # type: ignore[arg-type]
    with pytest.raises(AnyPETError, match="SUVbw and HU"):
        align(scan, scan.with_array(scan.array, "HU"))
    with pytest.raises(AnyPETError, match="cannot be registered"):
        align(scan, scan)  # nothing in either


GRID = empty((2.0, 2.0, 2.0), 120.0)


def lesions(**centres_radii: tuple[tuple[float, float, float], float]) -> dict[str, np.ndarray]:
    return {name: ball(GRID, centre, radius) for name, (centre, radius) in centres_radii.items()}


def found(before: dict[str, np.ndarray], after: dict[str, np.ndarray], gap: float = 15.0) -> list[Match]:
    return list(match_lesions(GRID, before, GRID, after, max_gap_mm=gap).matches)


def test_split_and_merged() -> None:
    large = lesions(a=((0, 0, 0), 20.0))
    parts = lesions(b=((-11, 0, 0), 7.0), c=((11, 0, 0), 7.0))
    (split,) = found(large, parts)
    assert (split.kind, split.baseline, set(split.followup)) == ("split", ("a",), {"b", "c"})
    (merged,) = found(parts, large)
    assert (merged.kind, set(merged.baseline), merged.followup) == ("merged", {"b", "c"}, ("a",))
    assert merged.overlap == pytest.approx(1.0)
    assert merged.gap_mm == 0


def test_regrouped() -> None:
    before = lesions(a=((-20, 0, 0), 15.0), b=((22, 0, 0), 8.0), c=((22, 18, 0), 7.0))
    after = lesions(d=((-28, 0, 0), 7.0), e=((-12, 0, 0), 6.0), f=((22, 9, 0), 20.0))
    kinds = {m.kind: m for m in found(before, after)}
    assert kinds["split"].followup in (("d", "e"), ("e", "d"))
    assert set(kinds["merged"].baseline) == {"b", "c"}
    both = found(
        lesions(a=((0, 0, 0), 20.0), b=((0, 28, 0), 6.0)),
        lesions(c=((0, 10, 0), 26.0), d=((-14, -8, 0), 5.0)),
    )
    assert [m.kind for m in both] == ["regrouped"]


def test_a_gap_is_forgiven_up_to_its_limit() -> None:
    before, after = lesions(a=((0, 0, 0), 8.0)), lesions(b=((26, 0, 0), 8.0))  # 10 mm between them
    (same,) = found(before, after)
    assert same.kind == "same"
    assert same.gap_mm == pytest.approx(10, abs=2.5)
    assert same.overlap == 0
    assert {m.kind for m in found(before, after, gap=5.0)} == {"vanished", "new"}
    (alone,) = found(before, {})
    assert (alone.kind, alone.gap_mm) == ("vanished", None)
    (fresh,) = found({}, after)
    assert (fresh.kind, fresh.followup) == ("new", ("b",))
    assert found({}, {}) == []


def test_two_poor_pairs_are_not_preferred_to_a_good_one() -> None:
    before = lesions(a=((0, 0, 0), 6.0), b=((24, 0, 0), 6.0))
    after = lesions(c=((24, 0, 0), 6.0), d=((47, 0, 0), 6.0))
    kinds = {(m.kind, m.baseline, m.followup) for m in found(before, after)}
    assert kinds == {("same", ("b",), ("c",)), ("vanished", ("a",), ()), ("new", (), ("d",))}


def test_neighbours_keep_their_order_under_a_shift() -> None:
    """Three nodes 20 mm apart, shifted by 8 mm: each is matched with itself."""
    before = lesions(**{f"n{n}": ((20.0 * n - 20, 0, 0), 6.0) for n in range(3)})
    after = lesions(**{f"n{n}": ((20.0 * n - 12, 0, 0), 6.0) for n in range(3)})
    assert [(m.kind, m.baseline) for m in found(before, after)] == [("same", (f"n{n}",)) for n in range(3)]
    assert all(m.baseline == m.followup for m in found(before, after))


def test_components_of_a_mask_are_matched() -> None:
    before = np.logical_or(*lesions(a=((-20, 0, 0), 8.0), b=((20, 0, 0), 10.0)).values())
    labels = split_into_lesions({"all": before}, GRID)
    (match,) = match_lesions(GRID, labels, GRID, lesions(left=((-20, 0, 0), 8.0))).of("same")
    assert (match.baseline, match.followup) == (("lesion 2",), ("left",))
    with pytest.raises(AnyPETError, match="gap"):
        match_lesions(GRID, labels, GRID, labels, max_gap_mm=-1)
    assert np.isnan(Alignment.none().quality)
