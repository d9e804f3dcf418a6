"""Makes docs/measures.md of the code: `python -m anypet.quantify.documentation docs/measures.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from anypet.files import write_whole
from anypet.quantify import deauville, lymphoma, matching, psma, regions, response
from anypet.quantify.definitions import OBJECT, SPREAD, Definition
from anypet.quantify.peak import CENTRES
from anypet.quantify.proposal import NOTICE
from anypet.quantify.suv import KINDS
from anypet.quantify.threshold import LIVER_SDS

_HEAD = f"""# Measures, reference regions and response

What every number of `anypet measure` and `anypet response` is, in which unit, and where its definition comes
from. This page is made from the code (`python -m anypet.quantify.documentation docs/measures.md`); a test
fails when they differ.

{NOTICE}
"""
_CRITERIA: tuple[tuple[str, Sequence[str], str], ...] = (
    ("Lesions of two scans", matching.RULE, matching.SOURCE),
    ("PERCIST 1.0", response.RULE, response.SOURCE),
    ("Total metabolic tumour volume (lymphoma)", lymphoma.RULE, lymphoma.SOURCE),
    ("Deauville score", deauville.RULE, deauville.SOURCE),
    ("qPET", deauville.QPET_RULE, deauville.QPET_SOURCE),
    ("PSMA total tumour volume", psma.RULE, psma.SOURCE),
    ("RECIP 1.0", psma.RECIP_RULE, psma.RECIP_SOURCE),
)
_THRESHOLDS = (
    ("41%, 50%, ...", "At least so much of the object's own SUVmax.", "Boellaard 2015 (EANM)"),
    ("4.0, 2.5, ...", "At least this SUV, in the SUV of the table.", "4.0: Boellaard 2024 (lymphoma)"),
    (
        "percist",
        "At least 1.5 x liver mean + 2 SD, or 2.0 x blood pool mean + 2 SD where the blood pool is given "
        "in place of the liver.",
        "Wahl 2009",
    ),
    (
        "liver",
        f"At least liver mean + {LIVER_SDS:g} SD.",
        "Zhou M et al., Oncotarget 2016;7:83544",
    ),
)


def markdown() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        "## Which SUV",
        _table(
            ("`--suv`", "unit", "normalised by", "measure"),
            ((f"`{k.name}`", k.unit, k.long_name, k.measure) for k in KINDS.values()),
        ),
        "## Of every object, and of all together",
        _definitions(OBJECT),
        "Where the centre of SUVpeak's sphere may lie:\n",
        _table(("`--peak`", "meaning"), ((f"`{name}`", text) for name, text in CENTRES.items())),
        "## Of all lesions",
        _definitions(SPREAD),
        "## Thresholds inside a mask",
        _table(("`--threshold`", "keeps", "source"), ((f"`{a}`", b, c) for a, b, c in _THRESHOLDS)),
        "## Reference regions",
        "Found in a mask, or put at a place and moved. A voxel counts when its centre lies in the region; "
        "SD is divided by N.\n",
        _table(
            ("region", "where", "source"),
            ((name, text, regions.SOURCES[name]) for name, text in regions.RULES.items()),
        ),
        "## Response and scores",
        f"{NOTICE} Each is printed with its inputs, its rule and its source.\n",
    ]
    for name, rule, source in _CRITERIA:
        parts.append(f"### {name}\n")
        parts.append("\n".join(f"- {line}" for line in rule) + f"\n\nSource: {source}.\n")
    return "\n".join(parts).rstrip() + "\n"


def _definitions(definitions: Iterable[Definition]) -> str:
    return _table(
        ("column", "name", "unit", "definition", "source"),
        (
            (", ".join(f"`{c}`" for c in (d.columns or (d.name,))), d.title, d.unit or "–", d.text, d.source)
            for d in definitions
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    write_whole(Path(sys.argv[1]), markdown().encode())
