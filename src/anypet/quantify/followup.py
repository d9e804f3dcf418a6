"""Two simulated FDG scans of one patient with a planted change, to check matching and response against.

The second visit is the same body in another pose, on another grid, with another scan range and other noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.quantify.matching import Matches, match_lesions
from anypet.quantify.measures import measure
from anypet.quantify.parts import split_into_lesions
from anypet.quantify.proposal import Proposal
from anypet.quantify.regions import liver_sphere
from anypet.quantify.registration import align
from anypet.quantify.response import TimePoint, percist
from anypet.quantify.suv import Patient, as_suv
from anypet.simulate.anatomy import LIVER, Anatomy
from anypet.simulate.body import FAT, MARROW, MUSCLE, Body, make_body
from anypet.simulate.lesions import Lesion, lesion_at
from anypet.simulate.noise import generator
from anypet.simulate.scanner import Scanner, acquire
from anypet.simulate.tracer import activity
from anypet.volume import FloatArray, Volume

PATIENT = Patient(75.0, 1.75, "M")
UPTAKE_MINUTES = 60.0
_APART_MM = 45.0  # between lesions, so that one is never taken for another
_CLEAR_MM = 32.0  # from a lesion's middle to anything hot, whose spill would be measured as the lesion's
_MARGIN_MM = 90.0  # from the ends of the scan


@dataclass(frozen=True)
class Plan:
    """What happens between the visits.

    Args:
        result: what PERCIST must say.
        factor: uptake of the lesions at follow-up, as a multiple of that at baseline.
        first: uptake at baseline, as a multiple of the liver's mean.
        gone, new: how many of the three lesions vanish, and how many appear.
        last: uptake at follow-up as a multiple of the liver's mean, in place of `factor`.
    """

    result: str
    factor: float = 1.0
    first: tuple[float, float] = (9.0, 12.0)
    gone: int = 0
    new: int = 0
    last: float | None = None


PLANS: dict[str, Plan] = {
    "partial response": Plan("PMR", 0.45),
    "partial response, one lesion gone": Plan("PMR", 0.5, gone=1),
    "stable": Plan("SMD", 1.05),
    "hotter": Plan("PMD", 1.8),
    "new lesion beside response": Plan("PMD", 0.5, new=1),
    "one gone, one new elsewhere": Plan("PMD", 1.0, gone=1, new=1),
    "all gone": Plan("CMR", gone=3),
    "residue colder than the liver": Plan("CMR", last=0.45),
    "not measurable": Plan("NE", 0.5, first=(1.1, 1.25)),
}


@dataclass(frozen=True, eq=False)
class Visit:
    """One scan, its lesions as labels named after their sites, and the liver."""

    pet: Volume
    lesions: Volume
    liver: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two visits, the plan behind them, and the pose that takes RAS mm of the first to the second (4 x 4)."""

    baseline: Visit
    followup: Visit
    plan: Plan
    pose: FloatArray


def simulate_pair(anatomy: Anatomy, seed: int, plan: Plan) -> Pair:
    """Two FDG scans of a patient (SUVbw) between which a plan has come true.

    Args:
        anatomy: organs to start from; must hold a liver.
        seed: same seed, same pair.
        plan: of `PLANS`, or another.

    Raises:
        AnyPETError: the body has no room for lesions apart from each other and from what is hot.
    """
    gen, rng = generator(seed), np.random.default_rng(seed)
    body = make_body(anatomy, seed)
    clean = activity(body, "FDG", gen)
    liver = body.tissue == LIVER
    level = float(clean[torch.from_numpy(liver)].mean())
    drawn = [
        _lesion(gen, body, clean, site, rng.uniform(*plan.first) * level, rng.uniform(5.0, 15.0))
        for site in _sites(body, clean.numpy(), level, rng, 3 + plan.new)
    ]
    before = {n: (lesion, 1.0) for n, lesion in enumerate(drawn[:3], start=1)}
    after = {n: (lesion, _factor(plan, lesion, level)) for n, (lesion, _) in before.items() if n > plan.gone}
    after |= {n: (lesion, 1.0) for n, lesion in enumerate(drawn[3:], start=4)}
    pose = _pose(rng, body)
    first = _visit(body, clean, before, np.eye(4), gen, rng)
    last = _visit(body, clean * float(rng.uniform(0.95, 1.05)), after, pose, gen, rng)
    return Pair(first, last, plan, pose)


def _factor(plan: Plan, lesion: Lesion, liver: float) -> float:
    """What a lesion's uptake is multiplied by between the visits."""
    return plan.factor if plan.last is None else plan.last * liver / float(lesion.suv.max())


@dataclass(frozen=True)
class Answer:
    """What was found in a pair, and whether it is what was planted."""

    proposal: Proposal
    matches: Matches
    response_right: bool
    matching_right: bool


def answer(pair: Pair) -> Answer:
    """Registers, matches and judges a pair as `anypet response percist` does, from one mask a visit.

    The lesions' names are not used: the connected components of either mask are matched, then held against
    the sites that they cover.
    """
    visits = (pair.baseline, pair.followup)
    split = [split_into_lesions({"lesions": v.lesions.array > 0}, v.pet) for v in visits]
    sites = [_sites_of(labels, visit) for labels, visit in zip(split, visits, strict=True)]
    alignment = align(pair.baseline.pet, pair.followup.pet)
    matches = match_lesions(pair.baseline.pet, split[0], pair.followup.pet, split[1], alignment)
    points = []
    for visit, labels in zip(visits, split, strict=True):
        sul = as_suv(visit.pet, "lbm", PATIENT)
        table = measure(sul, labels, suv="lbm", patient=PATIENT)
        points.append(TimePoint(table, liver_sphere(sul, visit.liver), uptake_minutes=UPTAKE_MINUTES))
    proposal = percist(points[0], points[1], matches.new)
    planted = [set(names.values()) for names in sites]
    same = [
        ({sites[0][a] for a in m.baseline}, {sites[1][b] for b in m.followup})
        for m in matches.matches
        if m.baseline and m.followup
    ]
    right = (
        all(one == other for one, other in same)
        and {s for one, _ in same for s in one} == planted[0] & planted[1]
        and {sites[1][name] for name in matches.new} == planted[1] - planted[0]
        and {sites[0][name] for name in matches.vanished} == planted[0] - planted[1]
    )
    return Answer(proposal, matches, proposal.result == pair.plan.result, right)


def _sites_of(labels: Volume, visit: Visit) -> dict[str, str]:
    """Component -> the site that it covers."""
    found = {}
    for label, name in labels.meta["names"].items():
        under = np.bincount(visit.lesions.array[labels.array == label])
        found[name] = f"site {int(np.argmax(under))}"
    return found


def _sites(
    body: Body, clean: npt.NDArray[np.float32], liver: float, rng: np.random.Generator, count: int
) -> list[torch.Tensor]:
    """Voxels of muscle, fat or marrow: deep, and far from what is hot, from each other and from the ends."""
    cold = np.ascontiguousarray(clean < 0.75 * liver)
    room = np.isin(body.tissue, (MUSCLE, FAT, MARROW)) & (body.depth_mm > 15)
    room &= edt.edt(cold, anisotropy=(body.spacing,) * 3, parallel=1) > _CLEAR_MM
    ends = round(_MARGIN_MM / body.spacing)
    room[:, :, :ends] = room[:, :, -ends:] = False
    voxels = rng.permutation(np.argwhere(room))
    chosen: list[npt.NDArray[np.int64]] = []
    for voxel in voxels:
        if all(np.linalg.norm((voxel - other) * body.spacing) >= _APART_MM for other in chosen):
            chosen.append(voxel)
        if len(chosen) == count:
            return [torch.from_numpy(v).float() for v in chosen]
    raise AnyPETError(f"the body has room for {len(chosen)} lesions, {count} are planned: take another seed")


def _lesion(
    gen: torch.Generator, body: Body, clean: torch.Tensor, site: torch.Tensor, suv: float, volume_ml: float
) -> Lesion:
    """A lobulated lesion whose hottest voxel has a SUV."""
    tissue = torch.from_numpy(body.tissue)
    lesion = lesion_at(gen, body, tissue, clean, site, volume_ml)
    assert lesion is not None  # 15 mm under the skin there is room for it
    return Lesion(lesion.box, lesion.occupancy, lesion.suv * (suv / float(lesion.suv.max())))


def _pose(rng: np.random.Generator, body: Body) -> FloatArray:
    """Another table height and place, and a patient who lies a little differently."""
    middle = body.affine[:3, :3] @ (np.array(body.tissue.shape) / 2) + body.affine[:3, 3]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-5, 5, 3), degrees=True).as_matrix()
    pose[:3, 3] = middle - pose[:3, :3] @ middle + rng.uniform((-15, -15, -200), (15, 15, 200))
    return pose


def _visit(
    body: Body,
    clean: torch.Tensor,
    lesions: dict[int, tuple[Lesion, float]],
    pose: FloatArray,
    gen: torch.Generator,
    rng: np.random.Generator,
) -> Visit:
    """A scan of the body in a pose, with lesions (site -> lesion and a factor on its uptake)."""
    image, labels = clean.clone(), np.zeros(body.tissue.shape, np.uint8)
    for n, (lesion, factor) in lesions.items():
        part = image[lesion.box]
        image[lesion.box] = part + lesion.occupancy * (factor * lesion.suv - part)
        labels[lesion.box][(lesion.occupancy > 0.5).numpy()] = n
    scanner = Scanner((5.5, 5.5), float(rng.uniform(0.05, 0.12)), 5.0, 0.0, (4.0, 4.0))
    seen = acquire(image, body.spacing, scanner, gen).numpy()
    grid, shape = _grid(body, pose, rng)
    to_body = np.linalg.inv(pose @ body.affine) @ grid

    def laid(array: npt.NDArray[Any], order: int) -> npt.NDArray[Any]:
        return np.asarray(ndimage.affine_transform(array, to_body, output_shape=shape, order=order))

    placed = laid(labels, 0)
    for n in lesions:  # thin bridges may break on the grid; a lesion is one piece
        pieces = connected_components(placed == n)
        if pieces.max() > 1:
            placed[(placed == n) & (pieces != 1 + np.argmax(np.bincount(pieces.ravel())[1:]))] = 0
    names = {n: f"site {n}" for n in lesions}
    meta = {"patient": {"weight_kg": PATIENT.weight_kg, "height_m": PATIENT.height_m, "sex": PATIENT.sex}}
    return Visit(
        Volume(laid(seen, 1).astype(np.float32), grid, "SUVbw", meta),
        Volume(placed, grid, "label", {"names": names}),
        laid((body.tissue == LIVER).astype(np.uint8), 0) > 0,
    )


def _grid(body: Body, pose: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, tuple[int, int, int]]:
    """An upright grid around the moved body that leaves out up to 6 cm at either end: affine and shape."""
    spacing = np.array([rng.uniform(3.6, 5.0)] * 2 + [rng.uniform(3.0, 5.0)])
    corners = np.array(np.meshgrid(*((0, n - 1) for n in body.tissue.shape))).reshape(3, -1).T
    placed = corners @ (pose @ body.affine)[:3, :3].T + (pose @ body.affine)[:3, 3]
    low, high = placed.min(0), placed.max(0)
    low[2], high[2] = low[2] + rng.uniform(0, 60), high[2] - rng.uniform(0, 60)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    i, j, k = (int(n) for n in np.ceil((high - low) / spacing))
    return affine, (i, j, k)
