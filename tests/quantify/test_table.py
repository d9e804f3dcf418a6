"""The table in files and on the screen: every number, its unit, and which SUV it is in."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from anypet.errors import AnyPETError
from anypet.quantify import documentation
from anypet.quantify.definitions import DEFINITIONS, OBJECT, SPREAD
from anypet.quantify.measures import Measures, measure
from anypet.quantify.spread import Spread
from anypet.quantify.suv import Patient
from anypet.quantify.table import MeasureTable
from spheres import ball, empty, painted

SCAN = painted(empty((4.0, 4.0, 4.0), 80.0), ((-18, 0, 0), 10.0, 4.0), ((20, 0, 0), 12.0, 9.0))
MASKS = {"left [1]": ball(SCAN, (-18, 0, 0), 10.0), "right": ball(SCAN, (20, 0, 0), 12.0)}
TABLE = measure(SCAN, MASKS, suv="lbm", patient=Patient(80.0, 1.8, "M")).with_about(scan="case 1")


def test_every_field_has_a_definition_with_unit_and_source() -> None:
    fields = {f.name for f in dataclasses.fields(Measures)} | {"mtv_ml"}
    assert {d.name for d in OBJECT} == fields
    assert {d.name for d in SPREAD} == {f.name for f in dataclasses.fields(Spread)}
    assert len(DEFINITIONS) == len(OBJECT) + len(SPREAD)
    for d in DEFINITIONS.values():
        assert d.text.endswith(".")
        assert d.source
        assert d.unit or d.name in (
            "label",
            "name",
            "voxels",
            "sphericity",
            "lesions",
            "connectivity",
        )


def test_the_page_is_made_of_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "measures.md"
    assert page.read_text() == documentation.markdown(), (
        "run python -m anypet.quantify.documentation docs/measures.md"
    )
    for d in DEFINITIONS.values():
        assert d.text in page.read_text()


def test_csv_has_all_digits_and_names_its_suv(tmp_path: Path) -> None:
    path = TABLE.write(tmp_path / "m.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["name"] for row in rows] == ["left [1]", "right", "total"]
    assert {row["suv"] for row in rows} == {"SUVlbm"}
    assert {row["peak_centre"] for row in rows} == {"inside"}
    assert {row["scan"] for row in rows} == {"case 1"}
    right = TABLE.rows[1]
    assert float(rows[1]["suv_max"]) == right.suv_max
    assert float(rows[1]["suv_max_mm_y"]) == right.suv_max_mm[1]  # type: ignore[index]
    assert int(rows[1]["suv_max_i"]) == right.suv_max_voxel[0]  # type: ignore[index]
    assert float(rows[1]["mtv_ml"]) == right.volume_ml
    assert rows[1]["spleen_mm"] == ""
    assert {row["lesions"] for row in rows} == {"2"}
    assert float(rows[0]["dmax_mm"]) == TABLE.spread.dmax_mm


def test_json_holds_everything(tmp_path: Path) -> None:
    told = json.loads(TABLE.write(tmp_path / "m.json").read_text())
    assert told["suv"] == {
        "unit": "SUVlbm",
        "normalised_by": "lean body mass, Janmahasatian 2005",
        "measure": "g/mL",
    }
    assert told["objects"][1]["suv_peak_mm"] == list(TABLE.rows[1].suv_peak_mm)  # type: ignore[arg-type]
    assert told["total"]["name"] == "total"
    assert told["spread"]["connectivity"] == 26
    assert told["units"]["tlg"] == "SUVlbm x mL"
    assert told["scan"] == "case 1"


def test_parquet_reads_back(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(TABLE.write(tmp_path / "m.parquet"))
    assert table.to_pylist() == TABLE.records()
    assert b"SUVlbm" in table.schema.metadata[b"suv"]


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(AnyPETError, match=r"pip install anypet\[parquet\]"):
        TABLE.write(tmp_path / "m.parquet")
    assert not list(tmp_path.iterdir())


def shown(table: MeasureTable) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table.rich())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_screen_fits_80_columns_and_cuts_no_number() -> None:
    text = shown(TABLE)
    assert "Uptake in SUVlbm (lean body mass, Janmahasatian 2005), g/mL" in text
    assert "left [1]" in text
    assert "…" not in text
    for row in (*TABLE.rows, TABLE.total):
        for value in (f"{row.suv_peak:.2f}", f"{row.mtv_ml:.1f}", f"{row.tlg:.1f}", f"{row.sphericity:.2f}"):
            assert value in text
    assert "2 lesions (26-connected), Dmax" in text
    assert "SDmax" in text
    assert "spleen" not in text


def test_screen_of_an_empty_table() -> None:
    text = shown(measure(SCAN, {}))
    assert "0 lesions" in text
    assert "–" in text
    spleen = measure(SCAN, {"right": MASKS["right"]}, spleen=MASKS["left [1]"])
    assert "spleen" in shown(spleen)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match=r"\.csv, \.json, \.parquet"):
        TABLE.write(tmp_path / "m.xlsx")
    with pytest.raises(AnyPETError, match="cannot be written"):
        TABLE.write(tmp_path / "none" / "m.csv")
    (tmp_path / "m.csv").mkdir()
    with pytest.raises(AnyPETError, match="cannot be written"):
        TABLE.write(tmp_path / "m.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["m.csv"]
