"""The benchmark from jobs to tables and page, with the classical methods, which need no weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anypet.baselines import jobs as jobs_module
from anypet.baselines import run as run_module
from anypet.baselines.base import Automatic
from anypet.baselines.cases import kept, pictured
from anypet.baselines.jobs import Job, Outcome, read_mask
from anypet.baselines.names import canonical, is_tumour
from anypet.baselines.page import write_benchmark
from anypet.baselines.run import run_jobs, touched
from anypet.baselines.tables import Missing, lines_of, paired, paper_tables
from anypet.evaluation.cases import Case
from anypet.evaluation.protocol import Row, Settings, chosen_targets
from anypet.volume import Volume

SETTINGS = Settings(clicks=(1, 3), seeds=1)


def case(name: str, level: float) -> Case:
    liver = np.zeros((16, 14, 12), dtype=bool)
    liver[4:11, 3:10, 3:9] = True
    spot = np.zeros_like(liver)
    spot[13:15, 11:13, 9:11] = True
    suv = (0.5 + level * liver + 6 * spot).astype(np.float32)
    pet = Volume(suv, np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw")
    return Case.of(name, pet, {"liver": liver, "lesion 1": spot}, group="own")


def jobs(tmp_path: Path, *names: str) -> list[Job]:
    cases = tuple(kept(case(f"p{n}", 4.0 + n), tmp_path / "cases") for n in range(2))
    pictures = pictured(cases, lambda scan: chosen_targets(scan, SETTINGS))
    return [Job(name, None, cases, SETTINGS, pictures, tmp_path / "parts") for name in names]


def test_a_kept_case_is_the_case(tmp_path: Path) -> None:
    given = case("p", 4.0)
    ct = Volume(np.full((8, 7, 6), 40.0, np.float32), np.diag([8.0, 8.0, 8.0, 1.0]), "HU")
    assert kept(given, tmp_path).ct is None
    held = kept(replace(given, ct=lambda: ct), tmp_path)  # has got a CT since
    one, other = given.load(), held.load()
    assert (one.pet.array == other.pet.array).all()
    assert other.pet.same_grid(one.pet)
    assert list(one.targets) == list(other.targets)
    assert all((one.targets[name] == other.targets[name]).all() for name in one.targets)
    assert held.ct is not None
    assert held.ct().unit == "HU"
    assert held.ct().shape == one.pet.shape


def test_from_jobs_to_the_page_and_again(tmp_path: Path) -> None:
    todo = jobs(tmp_path, "classical", "sat")
    seen: list[bool] = []
    outcomes = run_jobs(todo, apart=False, on_job=lambda outcome, found: seen.append(found))
    again = run_jobs(todo, apart=False, on_job=lambda outcome, found: seen.append(found))
    assert seen == [False, False, True, False]  # what was refused is tried again
    # as text: NaN is not equal to itself
    assert repr(again[0].rows) == repr(outcomes[0].rows)
    assert again[0].masks == outcomes[0].masks
    oracle = [row for row in outcomes[0].rows if row.system == "oracle, told"]
    assert len(oracle) == 4
    assert all(row.values["dsc"] == 1 for row in oracle)
    assert all(row.seconds > 0 for row in oracle)
    written = write_benchmark(
        tmp_path, outcomes, todo[0].cases, SETTINGS, "SUV 2.5, clicked", [], {"data": "<b>"}
    )
    names = {path.name for path in written}
    assert {"rows.csv", "table.csv", "table1.csv", "table7.csv", "benchmark.html"} <= names
    page = (tmp_path / "benchmark.html").read_text()
    assert "&lt;b&gt;" in page
    assert page.count("data:image/png;base64,") == 2
    assert "sat is only listed" in page
    text = (tmp_path / "benchmark.md").read_text()
    assert "| SUV 2.5 | 3 points |" in text
    assert "| sat | not run |" in text
    assert "it needs a list given by --external" in text


def test_a_process_of_its_own_tells_its_memory(tmp_path: Path) -> None:
    (outcome,) = run_jobs(jobs(tmp_path, "classical"))
    assert not outcome.refused
    assert outcome.peak_mb > 20


def test_automatic_systems_pick_the_lesion_and_failures_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment(pet: Volume) -> dict[str, np.ndarray]:
        if pet.array.max() > 7 or pet.array[6, 6, 6] > 5:
            raise RuntimeError("too hot")
        return {"liver": pet.array > 3, "lesion": pet.array > 5.5}

    class Fake:
        kind = "automatic"
        options: dict[str, str] = {}  # noqa: RUF012
        image = "PET"

        def load(self, weights: object, device: str) -> list[Automatic]:
            return [Automatic("net", segment)]

    monkeypatch.setattr(run_module, "baseline", lambda name: Fake())
    monkeypatch.setattr(jobs_module, "baseline", lambda name: Fake())
    (outcome,) = run_jobs(jobs(tmp_path, "fake"), apart=False)
    assert outcome.failures == {"p1": "RuntimeError: too hot"}
    lesion = next(row for row in outcome.rows if row.target == "lesion 1")
    assert lesion.values["dsc"] == 1
    file = next(f for _, _, target, f in outcome.masks if target == "lesion 1")
    assert read_mask(tmp_path / "parts" / file, (16, 14, 12)).sum() == 8


def test_a_scan_without_a_systems_classes_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def segment(pet: Volume) -> dict[str, np.ndarray]:
        seen.append("scan")
        return {"liver": pet.array > 3}

    class Fake:
        kind = "automatic"
        options: dict[str, str] = {}  # noqa: RUF012
        image = "PET"
        classes = ("tumour",)

        def load(self, weights: object, device: str) -> list[Automatic]:
            return [Automatic("net", segment, self.classes)]

    monkeypatch.setattr(run_module, "baseline", lambda name: Fake())
    monkeypatch.setattr(jobs_module, "baseline", lambda name: Fake())
    (outcome,) = run_jobs(jobs(tmp_path / "a", "fake"), apart=False)
    assert (outcome.rows, seen) == ([], [])
    Fake.classes = ("tumour", "Liver")
    (outcome,) = run_jobs(jobs(tmp_path / "b", "fake"), apart=False)
    assert {row.target for row in outcome.rows} == {"liver"}
    assert seen


def test_touched_keeps_whole_components() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[0:2] = True
    mask[4:6] = True
    target = np.zeros_like(mask)
    target[1, 1, 1] = True
    found = touched(mask, target)
    assert found[0:2].all()
    assert not found[2:].any()
    assert not touched(np.zeros_like(mask), target).any()


def row(system: str, patient: str, dsc: float, click: int, seconds: float = 1.0, kind: str = "liver") -> Row:
    return Row(system, "own", patient, patient, kind, 0, click, (1, 1, 1), True, seconds, {"dsc": dsc})


def test_lines_by_hand() -> None:
    mine = [
        row("AnyPET", p, d + 0.05 * (c - 1), c, 2.0) for p, d in (("a", 0.8), ("b", 0.6)) for c in (1, 2, 3)
    ]
    sam = []
    for name, dsc in (("SAM, N points", 0.2), ("SAM, 3N points", 0.5)):
        for p in "ab":
            told = row(name, p, dsc, 0, 12.0)
            told.values["points"] = 6.0
            sam.append(told)
    outcomes = [Outcome("default", "own", mine, peak_mb=100), Outcome("sam", "slices", sam)]
    lines = {(v.system, v.prompt): v for v in lines_of(outcomes, SETTINGS, "AnyPET")}
    assert set(lines) == {
        ("AnyPET", "1 point"), ("AnyPET", "3 points"), ("SAM", "N points"), ("SAM", "3N points")
    }  # fmt: skip
    own = lines["AnyPET", "3 points"]
    assert own.metrics["dsc"].mean == pytest.approx(0.8)
    assert own.seconds_case == 6
    assert own.seconds_click == 2
    assert own.clicks is not None
    assert own.clicks.mean == pytest.approx((2 + 4) / 2)
    assert own.difference is None
    single, triple = lines["SAM", "N points"], lines["SAM", "3N points"]
    assert single.difference is not None
    assert single.difference.mean == pytest.approx(0.7 - 0.2)
    assert triple.difference is not None
    assert triple.difference.mean == pytest.approx(0.8 - 0.5)
    assert single.seconds_click == 2
    assert single.seconds_case == 12
    assert single.clicks is None
    one = paper_tables(list(lines.values()), [], [])[0]
    assert one.header == ["system", "prompt", "liver", "mean"]
    assert one.rows[1][-1] == "0.800"


def test_table_6_sets_the_ct_beside_the_pet_on_the_organs_that_both_have() -> None:
    mine = [row("AnyPET", p, 0.9, c, kind=k) for p in "ab" for c in (1, 3) for k in ("liver", "heart")]
    other = [row("T (CT)", p, 0.7, 0, kind="liver") for p in "ab"]
    outcomes = [Outcome("default", "own", mine), Outcome("totalsegmentator", "automatic", other)]
    lines = lines_of(outcomes, SETTINGS, "AnyPET")
    missing = [Missing("sam-med3d-turbo-ct", "no weights"), Missing("sat", "only listed")]
    six = paper_tables(lines, missing, [])[3]
    assert six.header == ["system", "image", "prompt", "mean DSC of 1 organs"]
    assert six.rows == [
        ["AnyPET", "PET", "1 point", "0.900"],
        ["AnyPET", "PET", "3 points", "0.900"],
        ["T (CT)", "CT", "auto", "0.700"],
        ["sam-med3d-turbo-ct", "CT", "not run", "–"],
    ]
    bare = next(
        t for t in paper_tables(lines_of(outcomes[:1], SETTINGS, "AnyPET"), missing, []) if t.number == "6"
    )
    assert "sam-med3d-turbo-ct: no weights" in bare.note


def test_the_paired_test_is_wilcoxons() -> None:
    first = [row("a", str(n), 0.9, 1) for n in range(6)]
    second = [row("b", str(n), 0.5 + 0.01 * n, 1) for n in range(6)]
    difference, p = paired(first, second)
    assert difference is not None
    assert difference.mean == pytest.approx(0.375)
    assert p == pytest.approx(2 / 2**6)  # all six signs alike, two-sided
    assert paired(first, [])[0] is None


def test_names() -> None:
    assert canonical("Kidney-L") == canonical("left kidney") == canonical("kidney_left") == "left kidney"
    assert is_tumour("small lesion")
    assert is_tumour("Tumour")
    assert not is_tumour("liver")
