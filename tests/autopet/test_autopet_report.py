"""What is written of a run of the protocol."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console
from test_autopet_protocol import case, finder

from anypet.autopet.protocol import SCORES, Step, case_scores, run_case, summarise_scores
from anypet.autopet.report import rich_table, steps_plot, write_report


@pytest.fixture
def rows() -> list[Step]:
    return [
        *run_case(case(10, "a", "p"), finder, 3),
        *run_case(case(5, "b", "p"), finder, 3),
        *run_case(case(0, "c", "q"), finder, 3),
    ]


def test_a_folder_of_results(rows: list[Step], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    written = write_report(out, rows, {"model": "finder"})
    assert sorted(out.iterdir()) == sorted(written)
    assert {p.name for p in written} == {"steps.csv", "cases.csv", "summary.json", "steps.png"}
    steps = list(csv.DictReader((out / "steps.csv").open()))
    assert [(line["case"], line["step"]) for line in steps] == [(c, str(s)) for c in "abc" for s in range(3)]
    assert float(steps[1]["fnv"]) == pytest.approx(rows[1].values["fnv"])
    assert (steps[0]["lesions"], steps[6]["dsc"], steps[6]["fnv"]) == ("10", "", "")
    cases = list(csv.DictReader((out / "cases.csv").open()))
    assert [line["case"] for line in cases] == ["a", "b", "c"]
    assert list(cases[0]) == ["case", "patient", *SCORES]
    assert float(cases[1]["auc_fnv"]) == pytest.approx((0.4 + 0.24) / 2 + 0.32)
    assert (out / "steps.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_holds_every_number(rows: list[Step], tmp_path: Path) -> None:
    write_report(tmp_path, rows, {"model": "finder"}, normalised=True)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["about"] == {"model": "finder"}
    assert list(summary["scores"]) == list(SCORES)
    assert [name for name, line in summary["scores"].items() if line["official"]] == list(SCORES[:6])
    fnv = summary["scores"]["auc_fnv"]
    assert (fnv["cases"], fnv["interval"]["patients"]) == (2, 1)
    assert fnv["mean"] == pytest.approx(((0.72 + 0.32) / 2), abs=1e-6)
    assert summary["scores"]["fpv_last"]["interval"]["patients"] == 2
    assert [step["mean"] for step in summary["steps"]["fpv"]] == pytest.approx([0.2, 0.18, 0.16])


def test_undefined_numbers_stay_empty(tmp_path: Path) -> None:
    rows = run_case(case(0), finder, 2)
    write_report(tmp_path, rows, {})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["scores"]["dsc_last"]["mean"] is None
    assert steps_plot(rows).startswith(b"\x89PNG")
    text = text_of(rows)
    assert "nan" not in text


def test_the_table_has_the_six_first(rows: list[Step]) -> None:
    text = text_of(rows)
    lines = text.splitlines()
    assert "3 cases of 2 patients, 3 steps" in text
    names = (
        "Dice at step 2",
        "FPV (mL) at step 2",
        "area under FNV",
        "DMM at step 2",
        "area under lesion F1",
    )
    order = [next(n for n, line in enumerate(lines) if name in line) for name in names]
    assert order == sorted(order)
    assert "0.16" in lines[order[1]]


def text_of(rows: list[Step]) -> str:
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_table(summarise_scores(case_scores(rows)), rows))
    return console.export_text()
