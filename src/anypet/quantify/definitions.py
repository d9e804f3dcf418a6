"""What every measure is, its unit and where the definition comes from; docs/measures.md is made of it."""

from __future__ import annotations

from dataclasses import dataclass

WAHL = "Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S"
LODGE = "Lodge MA et al., J Nucl Med 2012;53:1041"
EANM = "Boellaard R et al. (EANM), Eur J Nucl Med Mol Imaging 2015;42:328"
IBSI = "Zwanenburg A et al. (IBSI), Radiology 2020;295:328; IBSI reference manual"
DMAX = "Cottereau AS et al., J Nucl Med 2020;61:40"
SDMAX = "Cottereau AS et al., Ann Oncol 2021;32:404"
DMAX_BULK = "Eertink JJ et al., Eur J Nucl Med Mol Imaging 2022;49:932"
OWN = "AnyPET"

SUV = "SUV"  # in a unit: the SUV of the table


@dataclass(frozen=True)
class Definition:
    """A measure.

    Args:
        name: its field in `Measures` or `Spread`, and the start of its columns in files.
        title: in tables.
        unit: of its values; "SUV" is the SUV that the table names; "" for a pure number.
        text: what it is.
        source: who defined it so.
        digits: after the point, on the screen.
        columns: names of its columns in files where it has several.
    """

    name: str
    title: str
    unit: str
    text: str
    source: str
    digits: int = 1
    columns: tuple[str, ...] = ()


def _place(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in "xyz")


OBJECT: tuple[Definition, ...] = (
    Definition("label", "Label", "", "Number of the object in the label volume; 0 is all together.", OWN, 0),
    Definition("name", "Object", "", "Name of the object.", OWN, 0),
    Definition("voxels", "Voxels", "", "Number of voxels.", OWN, 0),
    Definition(
        "volume_ml",
        "Volume",
        "mL",
        "Voxels times the volume of one voxel (IBSI approximate volume). In the total, voxels of several "
        "objects count once.",
        IBSI,
    ),
    Definition(
        "mtv_ml",
        "MTV",
        "mL",
        "Metabolic tumour volume: the same volume, under the name that reports ask for. The mask decides "
        "what counts as tumour; a threshold inside it is named with the table.",
        EANM,
    ),
    Definition("suv_max", "SUVmax", SUV, "Highest value of a voxel of the object.", EANM, 2),
    Definition(
        "suv_max_voxel",
        "SUVmax at",
        "voxel",
        "Index (i, j, k) of the first voxel with that value.",
        OWN,
        0,
        ("suv_max_i", "suv_max_j", "suv_max_k"),
    ),
    Definition(
        "suv_max_mm",
        "SUVmax at",
        "mm",
        "Centre of that voxel, RAS (x to the right, y to the front, z to the head).",
        OWN,
        1,
        _place("suv_max_mm"),
    ),
    Definition(
        "suv_peak",
        "SUVpeak",
        SUV,
        "Highest mean of a sphere of 1 mL (12.4 mm across). The sphere is placed between voxels too, and a "
        "voxel counts by the part of it that lies in the sphere, whether it is one of the object or not. "
        "Where the centre may lie is named with the table: inside the object (a voxel of it holds the "
        "centre; the default), near (the sphere may just touch the object) or hottest (on the voxel of "
        "SUVmax). In the total, the highest of the objects.",
        f"{WAHL}; {LODGE}",
        2,
    ),
    Definition(
        "suv_peak_mm", "SUVpeak at", "mm", "Centre of that sphere, RAS.", OWN, 1, _place("suv_peak_mm")
    ),
    Definition("suv_mean", "SUVmean", SUV, "Mean over the object's voxels.", EANM, 2),
    Definition("suv_median", "SUVmedian", SUV, "Median over the object's voxels.", IBSI, 2),
    Definition("suv_sd", "SD", SUV, "Standard deviation over the object's voxels (divided by N).", IBSI, 2),
    Definition("tlg", "TLG", f"{SUV} x mL", "Total lesion glycolysis: SUVmean times MTV.", EANM),
    Definition(
        "surface_cm2",
        "Surface",
        "cm2",
        "Area of the mesh that marching cubes put around the voxel centres. On masks it is some 8 % more "
        "than that of the smooth body.",
        IBSI,
    ),
    Definition(
        "longest_mm",
        "Longest diameter",
        "mm",
        "Largest distance between two points of the mesh, in 3D.",
        IBSI,
    ),
    Definition(
        "longest_axial_mm",
        "Longest axial",
        "mm",
        "Largest distance between two points of the mesh in one plane perpendicular to the patient's "
        "head-foot axis, however the scan is stored.",
        OWN,
    ),
    Definition(
        "sphericity",
        "Sphericity",
        "",
        "Surface of the ball with the volume of the mesh, divided by the surface of the mesh: 1 for a "
        "ball; 0.92 for a ball made of voxels.",
        IBSI,
        2,
    ),
    Definition(
        "centroid_mm",
        "Centroid",
        "mm",
        "Mean place of the voxel centres, RAS.",
        IBSI,
        1,
        _place("centroid_mm"),
    ),
    Definition(
        "spleen_mm",
        "To the spleen",
        "mm",
        "Distance from the object's centroid to that of the spleen, where a mask of the spleen is given.",
        OWN,
    ),
)

SPREAD: tuple[Definition, ...] = (
    Definition(
        "lesions",
        "Lesions",
        "",
        "Connected components of the union of all objects; objects that touch are one lesion.",
        OWN,
        0,
    ),
    Definition(
        "connectivity",
        "Connectivity",
        "",
        "Which voxels touch: 6 over faces, 18 over edges too, 26 over corners too (the default).",
        OWN,
        0,
    ),
    Definition("dmax_mm", "Dmax", "mm", "Largest distance between the centroids of two lesions.", DMAX),
    Definition("sdmax_per_m", "SDmax", "1/m", "Dmax in metres, divided by the body surface in m2.", SDMAX, 3),
    Definition(
        "dmax_bulk_mm",
        "DmaxBulk",
        "mm",
        "Largest distance between the centroid of the largest lesion and that of another.",
        DMAX_BULK,
    ),
)

DEFINITIONS: dict[str, Definition] = {d.name: d for d in (*OBJECT, *SPREAD)}
