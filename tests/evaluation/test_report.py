"""Summaries and what is written of them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from anypet.evaluation.protocol import Row, Settings
from anypet.evaluation.report import learning_plot, rich_tables, write_report
from anypet.evaluation.summary import summarise_rows

SETTINGS = Settings(clicks=(1, 3), seeds=1)


def run(system: str, patient: str, target: str, *dsc: float) -> list[Row]:
    rows = []
    for click, value in enumerate(dsc, start=1):
        values = {"dsc": value}
        if click in SETTINGS.clicks:
            values |= {"nsd": value / 2, "hd95": math.inf if value == 0 else 4.0, "volume_error": -0.5}
        rows.append(
            Row(system, "sts", patient, patient, target, 0, click, (1, 2, 3), click != 2, 0.25, values)
        )
    return rows


@pytest.fixture
def rows() -> list[Row]:
    rows = run("net", "a", "lesion 1", 0.7, 0.81, 0.92) + run("net", "a", "lesion 2", 0.5, 0.6, 0.7)
    rows += run("net", "b", "lesion", 0.0, 0.86, 0.86) + run("net", "b", "liver", 0.95, 0.95, 0.96)
    rows += run("other", "a", "lesion 1", 0.3, 0.3, 0.3) + run("other", "b", "lesion", 0.1, 0.1, 0.1)
    base = Row("best SUV, told", "sts", "a", "a", "lesion 1", 0, 0, None, None, math.nan)
    return [*rows, Row(**{**vars(base), "values": {"dsc": 0.4, "threshold_suv": 1.75}})]


def test_lines_and_clicks_needed(rows: list[Row]) -> None:
    summary = summarise_rows(rows, SETTINGS, first="net")
    lines = {(line.kind, line.system, line.click): line for line in summary.lines}
    assert set(lines) == {
        ("lesion", "net", 1), ("lesion", "net", 3), ("lesion", "other", 1), ("lesion", "other", 3),
        ("lesion", "best SUV, told", 0), ("liver", "net", 1), ("liver", "net", 3),
    }  # fmt: skip
    first = lines["lesion", "net", 1]
    assert first.targets == 3
    assert first.metrics["dsc"].mean == pytest.approx((0.6 + 0.0) / 2)
    assert first.metrics["hd95"].undefined == 1
    assert first.metrics["hd95"].mean == 4.0
    assert first.seconds == 0.25
    assert lines["lesion", "best SUV, told", 0].note == "1.75"
    needed = {(n.kind, n.system, n.level): n for n in summary.clicks_needed}
    assert needed["lesion", "net", 0.8].clicks.mean == pytest.approx(
        ((2 + 4) / 2 + 2) / 2
    )  # 4: never within 3
    assert needed["lesion", "net", 0.8].reached == pytest.approx(2 / 3)
    assert needed["liver", "net", 0.9].clicks.mean == 1.0
    assert not any(system == "best SUV, told" for _, system, _ in needed)


def test_differences_are_to_the_first_system(rows: list[Row]) -> None:
    versus = {
        (v.kind, v.second, v.click): v.difference for v in summarise_rows(rows, SETTINGS, first="net").versus
    }
    assert set(versus) == {
        (k, s, c) for k, s in (("lesion", "other"), ("lesion", "best SUV, told")) for c in (1, 3)
    }
    assert versus["lesion", "other", 3].interval.mean == pytest.approx(((0.81 - 0.3) + (0.86 - 0.1)) / 2)
    assert versus["lesion", "best SUV, told", 1].interval.patients == 1
    assert summarise_rows(rows, SETTINGS).versus == []


def test_a_report_is_written_whole(rows: list[Row], tmp_path: Path) -> None:
    summary = summarise_rows(rows, SETTINGS, first="net")
    files = write_report(tmp_path / "new" / "out", rows, summary, SETTINGS, {"model": "net", "failures": {}})
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == sorted(p.name for p in files)
    content = {path.name: path for path in files}
    with content["rows.csv"].open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    assert (read[0]["kind"], read[0]["i"], read[0]["dsc"], read[1]["nsd"], read[1]["positive"]) == (
        "lesion", "1", "0.7", "", "0",
    )  # fmt: skip
    assert read[-1]["threshold_suv"] == "1.75"
    figures = json.loads(content["summary.json"].read_text())
    assert figures["about"]["model"] == "net"
    assert figures["lines"][0]["metrics"]["dsc"]["patients"] == 2
    text = content["summary.md"].read_text()
    for part in (
        "lesion (sts): 3 targets of 2 patients",
        "- model: net",
        "best SUV, told (1.75) | any |",
        "4.0 [4.0, 4.0]*",
    ):
        assert part in text
    assert content["learning.png"].read_bytes().startswith(b"\x89PNG")


def test_tables_fit_a_terminal(rows: list[Row]) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in rich_tables(summarise_rows(rows, SETTINGS), SETTINGS):
        console.print(table)
    text = console.export_text()
    assert "0.300 [0.000, 0.600]" in text
    assert "…" not in text


def test_the_plot_takes_many_kinds(rows: list[Row]) -> None:
    many = [Row(**{**vars(r), "target": f"organ{n}"}) for n in range(6) for r in rows[:3]]
    assert learning_plot(many).startswith(b"\x89PNG")
