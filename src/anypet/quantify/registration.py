"""Lays one scan of a patient over another with SimpleITK: rigid, affine, or with a free-form deformation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from anypet.errors import AnyPETError
from anypet.grids import to_sitk
from anypet.volume import FloatArray, Volume

log = logging.getLogger(__name__)

Model = Literal["rigid", "affine", "bspline"]
MODELS: tuple[Model, ...] = ("rigid", "affine", "bspline")

_TO_LPS = np.array([-1.0, -1.0, 1.0])
_SPACING_MM = 6.0  # what a whole body is registered at; PET is no finer, and a CT need not be
_KNOTS_MM = 100.0
_SUV_CEILING = 10.0
_SHIFT_MM = 20.0
_LEAST_OVERLAP = 0.5  # of the shorter scan, for a shift along the head-foot axis to be tried


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where places of one scan lie in another.

    Args:
        transform: SimpleITK transform from LPS mm of the first scan to LPS mm of the second.
        model: how it was found; "none" for scans that share their coordinates.
        quality: mutual information (Mattes) at the end, the more negative the better; NaN where none was
            sought.
    """

    transform: sitk.Transform
    model: str
    quality: float

    @classmethod
    def none(cls) -> Alignment:
        """Both scans share their coordinates."""
        return cls(sitk.Transform(3, sitk.sitkIdentity), "none", float("nan"))

    def move(self, mm: npt.ArrayLike) -> FloatArray:
        """Places (N, 3) of the first scan -> places (N, 3) of the second, RAS mm."""
        points = np.asarray(mm, dtype=np.float64).reshape(-1, 3) * _TO_LPS
        moved = [self.transform.TransformPoint(point) for point in points.tolist()]
        return np.array(moved).reshape(-1, 3) * _TO_LPS


def align(first: Volume, second: Volume, model: Model = "rigid") -> Alignment:
    """Finds where places of one scan lie in another scan of the same patient.

    Both are looked at on 6 mm voxels; SUV is cut at 10 and HU to -200..300, so that neither a full bladder
    nor air decides.

    Args:
        first: (i, j, k), PET in SUV or CT in HU; usually the baseline.
        second: of the same kind.
        model: "rigid"; "affine" after it; or "bspline", a free-form deformation with a knot every 100 mm,
            after both.

    Raises:
        AnyPETError: another model, the units differ, or the scans do not overlap.

    Source: Mattes D et al., IEEE Trans Med Imaging 2003;22:120 (mutual information); SimpleITK's
    registration.
    """
    if model not in MODELS:
        raise AnyPETError(f"a registration model is one of {', '.join(MODELS)}, got {model!r}")
    if first.unit != second.unit:
        raise AnyPETError(f"scans in {first.unit} and {second.unit} cannot be registered: give the same kind")
    fixed, moving = _prepared(first), _prepared(second)
    try:
        found, quality = _optimise(fixed, moving, _start(fixed, moving), (4, 2, 1))
        if model != "rigid":
            found, quality = _optimise(fixed, moving, _as_affine(found), (2, 1))
        if model == "bspline":
            found, quality = _deform(fixed, moving, found)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise AnyPETError(f"the scans cannot be registered, do they show the same body? {reason}") from error
    log.info("registered (%s), mutual information %.4f", model, quality)
    return Alignment(found, model, quality)


def _prepared(scan: Volume) -> sitk.Image:
    """The scan on coarse voxels, with its values cut to what is the body's."""
    low, high = (-200.0, 300.0) if scan.unit == "HU" else (0.0, _SUV_CEILING)
    image = sitk.Cast(
        to_sitk(scan.with_array(np.clip(scan.array.astype(np.float32), low, high))), sitk.sitkFloat32
    )
    spacing = np.array(image.GetSpacing())
    coarse = np.maximum(spacing, _SPACING_MM)
    sigma = np.sqrt(np.maximum((coarse**2 - spacing**2) / 12, 1e-6))
    image = sitk.SmoothingRecursiveGaussian(image, sigma.tolist())
    size = np.maximum(np.round(np.array(image.GetSize()) * spacing / coarse), 1).astype(int)
    image = sitk.Resample(
        image,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        coarse.tolist(),
        image.GetDirection(),
        low,
        sitk.sitkFloat32,
    )
    return _cropped(image, -100.0 if scan.unit == "HU" else 0.1)


def _cropped(image: sitk.Image, above: float) -> sitk.Image:
    """The box of the body: of the largest region above a value, or the whole image where there is none."""
    regions = sitk.RelabelComponent(sitk.ConnectedComponent(image > above))
    stats = sitk.LabelShapeStatisticsImageFilter()
    stats.Execute(regions)
    if not stats.HasLabel(1):
        return image
    box = stats.GetBoundingBox(1)
    return sitk.RegionOfInterest(image, box[3:], box[:3])


def _start(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """The best of many shifts along the head-foot axis, on coarse voxels.

    Scans begin and end at different places and tables stand where they like, so neither the scans' middles
    nor their coordinates can be trusted to coincide.
    """
    first, second = (sitk.Shrink(image, [2, 2, 2]) for image in (fixed, moving))
    method = _method((1,))
    middles = [_middle(image) for image in (first, second)]
    length = [abs(float(image.GetSize()[2] * image.GetSpacing()[2])) for image in (first, second)]
    reach = max(sum(length) / 2 - _LEAST_OVERLAP * min(length), 0.0)
    best, lowest = None, np.inf
    steps = int(reach // _SHIFT_MM)
    for shift in np.arange(-steps, steps + 1) * _SHIFT_MM:
        tried = sitk.Euler3DTransform()
        tried.SetCenter(middles[0].tolist())
        tried.SetTranslation((middles[1] - middles[0] + [0.0, 0.0, shift]).tolist())
        method.SetInitialTransform(tried)
        value = float(method.MetricEvaluate(first, second))
        if value < lowest:
            best, lowest = tried, value
    if best is None:
        raise RuntimeError("no place where the scans are alike")
    return best


def _middle(image: sitk.Image) -> FloatArray:
    """LPS mm of the middle of an image."""
    corner = (np.array(image.GetSize()) - 1) / 2
    return np.array(image.TransformContinuousIndexToPhysicalPoint(corner.tolist()))


def _method(shrink: tuple[int, ...]) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([0.0 if n == 1 else float(n) / 2 for n in shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _optimise(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform, shrink: tuple[int, ...]
) -> tuple[sitk.Transform, float]:
    """A transform of a few parameters."""
    method = _method(shrink)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=100, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(fixed, moving)
    while isinstance(found, sitk.CompositeTransform):
        found = found.GetNthTransform(found.GetNumberOfTransforms() - 1)
    return found.Downcast(), float(method.GetMetricValue())


def _as_affine(rigid: Any) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetCenter(rigid.GetCenter())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def _deform(fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform) -> tuple[sitk.Transform, float]:
    """A free-form deformation before the affine one; few knots and few steps, so that noise moves nothing."""
    extent = np.array(fixed.GetSize()) * np.array(fixed.GetSpacing())
    mesh = np.maximum(np.round(extent / _KNOTS_MM), 1).astype(int).tolist()
    method = _method((2,))
    method.SetMetricSamplingStrategy(sitk.ImageRegistrationMethod.REGULAR)
    method.SetMetricSamplingPercentage(0.5)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-5, numberOfIterations=20, maximumNumberOfFunctionEvaluations=30
    )
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, mesh, order=3), inPlace=False)
    bspline = method.Execute(fixed, moving)
    # the last one added is applied first
    return sitk.CompositeTransform([affine, bspline]), float(method.GetMetricValue())
