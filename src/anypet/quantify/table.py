"""The table of measures: on the screen, and as CSV, JSON or Parquet. It always says which SUV it is in."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anypet._version import __version__
from anypet.errors import AnyPETError
from anypet.files import write_whole
from anypet.quantify.definitions import DEFINITIONS, OBJECT, SPREAD, Definition
from anypet.quantify.spread import Spread
from anypet.quantify.suv import SUVKind

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from anypet.quantify.measures import Measures

SUFFIXES = (".csv", ".json", ".parquet")
_UPTAKE = ("name", "mtv_ml", "suv_max", "suv_peak", "suv_mean", "suv_median", "suv_sd", "tlg")
_FORM = ("name", "suv_max_mm", "surface_cm2", "longest_mm", "longest_axial_mm", "sphericity", "spleen_mm")


@dataclass(frozen=True)
class MeasureTable:
    """Measures of objects, of all together, and of their spread.

    Args:
        rows: one object each.
        total: all objects as one.
        spread: lesions and the distances between them.
        suv: the SUV of every value in the table.
        centre: where SUVpeak's sphere may have its centre.
        about: what else belongs to the figures, such as the scan's name or a threshold; in every file.
    """

    rows: tuple[Measures, ...]
    total: Measures
    spread: Spread
    suv: SUVKind
    centre: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def with_about(self, **about: Any) -> MeasureTable:
        """The same table with more said about it."""
        return dataclasses.replace(self, about={**self.about, **about})

    def records(self) -> list[dict[str, Any]]:
        """One flat dictionary a row, the total last; the same columns in all.

        A place fills three columns (`suv_max_mm_x`, ...). What is not known is None. `suv`, `peak_centre`,
        `lesions`, `connectivity` and the distances between lesions are columns too, so that tables of several
        scans can be joined.
        """
        head = {str(k): v for k, v in self.about.items()}
        common = {"suv": self.suv.unit, "peak_centre": self.centre}
        between = {d.name: getattr(self.spread, d.name) for d in SPREAD}
        return [{**head, **common, **_flat(row), **between} for row in (*self.rows, self.total)]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON: what the table is in, the objects, the total, the spread and the units."""
        return {
            "anypet_version": __version__,
            **{str(k): v for k, v in self.about.items()},
            "suv": {"unit": self.suv.unit, "normalised_by": self.suv.long_name, "measure": self.suv.measure},
            "peak_centre": self.centre,
            "objects": [_nested(row) for row in self.rows],
            "total": _nested(self.total),
            "spread": dataclasses.asdict(self.spread),
            "units": {d.name: unit_of(d, self.suv) for d in DEFINITIONS.values() if d.unit},
        }

    def write(self, path: Path | str) -> Path:
        """Writes .csv, .json or .parquet (needs pyarrow); a file is replaced once the new one is whole.

        Raises:
            AnyPETError: another suffix, no such folder, pyarrow is not installed, or the disk refuses.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".csv":
            content = csv_of(self.records()).encode()
        elif suffix == ".json":
            content = (json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n").encode()
        elif suffix == ".parquet":
            content = parquet_of(self.records(), {"suv": str(self.suv), "anypet_version": __version__})
        else:
            raise AnyPETError(f"{path}: unknown suffix; expected one of {', '.join(SUFFIXES)}")
        return write_whole(path, content)

    def rich(self) -> Group:
        """For the screen: uptake and form, a row an object, the total last; then what the numbers rest on."""
        from rich.console import Group
        from rich.markup import escape

        uptake = self._rich(_UPTAKE, f"Uptake in {self.suv}")
        form = self._rich(_FORM, "Place (RAS) and form")
        return Group(uptake, form, escape(self._caption()))

    def _rich(self, names: Sequence[str], title: str) -> Table:
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        shown = [DEFINITIONS[name] for name in names if name != "spleen_mm" or self._has_spleen]
        for d in shown:
            heading = "\n".join([*d.title.split(), "" if d.unit == "SUV" else d.unit]).strip()
            left = d.name == "name"
            table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
        for row in self.rows:
            table.add_row(*(_shown(row, d) for d in shown))
        table.add_section()
        table.add_row(*(_shown(self.total, d) for d in shown), style="bold")
        return table

    @property
    def _has_spleen(self) -> bool:
        return any(row.spleen_mm is not None for row in self.rows)

    def _caption(self) -> str:
        spread = self.spread
        many = "" if spread.lesions == 1 else "s"
        lines = [f"{spread.lesions} lesion{many} ({spread.connectivity}-connected)"]
        if spread.dmax_mm is not None and spread.dmax_bulk_mm is not None:
            lines[0] += f", Dmax {spread.dmax_mm:.1f} mm, DmaxBulk {spread.dmax_bulk_mm:.1f} mm"
        if spread.sdmax_per_m is not None:
            lines[0] += f", SDmax {spread.sdmax_per_m:.3f} 1/m"
        lines.append(f"SUVpeak: mean of 1 mL, centre {self.centre}")
        return "\n".join(lines + [f"{name}: {value}" for name, value in self.about.items()])


def unit_of(definition: Definition, suv: SUVKind) -> str:
    """The unit of a measure in a table of this SUV."""
    return definition.unit.replace("SUV", suv.unit)


def _flat(row: Measures) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for d in OBJECT:
        value = getattr(row, d.name)
        if d.columns:
            flat |= dict(zip(d.columns, value or (None,) * len(d.columns), strict=True))
        else:
            flat[d.name] = value
    return flat


def _nested(row: Measures) -> dict[str, Any]:
    return {d.name: getattr(row, d.name) for d in OBJECT}


def _shown(row: Measures, definition: Definition) -> str:
    from rich.markup import escape

    value = getattr(row, definition.name)
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(f"{v:.{definition.digits}f}" for v in value)
    return escape(value) if isinstance(value, str) else f"{value:.{definition.digits}f}"


def csv_of(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV with a header; None is an empty field, numbers have all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_columns(records), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in record.items()} for record in records)
    return text.getvalue()


def parquet_of(records: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> bytes:
    """Records as a Parquet file, with `about` in its schema's metadata.

    Raises:
        AnyPETError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise AnyPETError("Parquet needs pyarrow: pip install anypet[parquet], or write .csv") from error
    table = pa.table({name: [record.get(name) for record in records] for name in _columns(records)})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(dict(about)), sink)
    return bytes(sink.getvalue().to_pybytes())


def _columns(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))
