"""The whole way from a table to the report: planted modules, planted differences, files, the command."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.image import imread
from typer.testing import CliRunner

from anypet.cli.network import network
from anypet.errors import AnyPETError
from anypet.quantify.network.analysis import Analysis, Settings, analyse, deals
from anypet.quantify.network.body_map import FLOOR, outline, place_of, places
from anypet.quantify.network.cohort import Cohort, parse_cohort
from anypet.quantify.network.covariance import Estimator, residuals
from anypet.quantify.network.graph import (
    Threshold,
    adjusted_rand_index,
    communities,
    graph_of,
    labels_of,
)
from anypet.quantify.network.report import pictures, summary, tables
from anypet.quantify.network.simulate import MODULES, simulate_cohort

COVARIATES = ("age", "sex", "weight")
LOG = Estimator(transform="log")
QUICK = Settings(estimator=LOG, threshold=Threshold(density=0.4), permutations=39)
SMALL = {
    "upper": {"brain": 7.0, "thyroid": 1.3, "heart": 2.8, "aorta": 1.6},
    "lower": {"liver": 2.2, "spleen": 1.8, "marrow": 1.3, "widget": 1.0},
}


def small(seed: int, **groups: int) -> Cohort:
    made = simulate_cohort(
        np.random.default_rng(seed), groups, modules=SMALL, within=0.6, broken={"sick": "lower"}
    )
    return parse_cohort(made.table, "simulated", COVARIATES)


@pytest.mark.parametrize("kind", ["plain", "partial"])
@pytest.mark.parametrize("seed", range(5))
def test_planted_modules_of_a_cohort_of_200_are_recovered(seed: int, kind: str) -> None:
    made = simulate_cohort(np.random.default_rng(seed), {"control": 200}, within=0.5)
    cohort = parse_cohort(made.table, "simulated", COVARIATES)
    estimator = Estimator(kind, transform="log")  # type: ignore[arg-type]
    left = residuals(estimator.transformed(cohort.uptake), cohort.design)
    weights = Threshold(density=0.2).weights(estimator.correlation(left))
    parts, _ = communities(graph_of(weights, cohort.organs), restarts=5)
    truth = [made.modules[organ] for organ in cohort.organs]
    assert adjusted_rand_index(labels_of(parts, cohort.organs), truth) >= 0.8


def test_no_module_is_recovered_from_a_shuffled_cohort() -> None:
    made = simulate_cohort(np.random.default_rng(0))
    cohort = parse_cohort(made.table, "simulated", COVARIATES)
    shuffled = np.random.default_rng(1).permuted(residuals(np.log(cohort.uptake), cohort.design), axis=0)
    parts, _ = communities(graph_of(Threshold(density=0.2).weights(LOG.correlation(shuffled)), cohort.organs))
    truth = [made.modules[organ] for organ in cohort.organs]
    assert abs(adjusted_rand_index(labels_of(parts, cohort.organs), truth)) < 0.2


def test_simulated_correlations_are_the_ones_asked_for() -> None:
    made = simulate_cohort(
        np.random.default_rng(2), {"control": 20_000}, within=0.5, between=0.2, modules=SMALL
    )
    cohort = parse_cohort(made.table, "simulated", COVARIATES)
    r = LOG.correlation(residuals(np.log(cohort.uptake), cohort.design))
    assert r[:4, 4:].mean() == pytest.approx(0.2, abs=0.02)
    within = [r[:4, :4][np.triu_indices(4, 1)].mean(), r[4:, 4:][np.triu_indices(4, 1)].mean()]
    assert all(0.35 < value < 0.65 for value in within)
    confounded = LOG.correlation(residuals(np.log(cohort.uptake), np.zeros((20_000, 0))))
    assert confounded[:4, 4:].mean() > 0.3  # age and weight feign a network
    usual = [level for module in SMALL.values() for level in module.values()]
    np.testing.assert_allclose(np.exp(np.log(cohort.uptake).mean(0)), usual, rtol=0.1)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(small(3, sick=40, well=40), QUICK, ["sick", "well"], reference="well")


def test_two_groups_and_a_reference(analysis: Analysis) -> None:
    sick, well = analysis.networks
    assert (sick.name, well.name, sick.subjects) == ("sick", "well", 40)
    truth = [organ in SMALL["lower"] for organ in well.organs]
    assert adjusted_rand_index(well.community, truth) == 1
    assert analysis.comparison is not None
    worst = int(np.argmin(analysis.comparison.edges.p))
    pair = {analysis.organs[n[worst]] for n in np.triu_indices(8, 1)}
    assert pair <= set(SMALL["lower"])
    assert analysis.comparison.difference[worst] < 0
    assert [d.group for d in analysis.deviations] == ["sick"] * 40
    assert analysis.covariates == ("age", "sex=M", "weight")


def test_tables_hold_what_was_found(analysis: Analysis) -> None:
    files = {
        name: list(csv.DictReader(data.decode().splitlines())) for name, data in tables(analysis).items()
    }
    assert sorted(files) == [
        "correlation_sick.csv", "correlation_well.csv", "deviation.csv", "deviation_organs.csv",
        "difference_edges.csv", "difference_organs.csv", "edges_sick.csv", "edges_well.csv",
        "organs_sick.csv", "organs_well.csv",
    ]  # fmt: skip
    well = analysis.networks[1]
    matrix = np.array([[float(row[o]) for o in well.organs] for row in files["correlation_well.csv"]])
    np.testing.assert_allclose(matrix, well.correlation, atol=1e-5)
    first = files["edges_well.csv"][0]
    i, j = (well.organs.index(first[key]) for key in ("organ_a", "organ_b"))
    assert float(first["r"]) == pytest.approx(well.correlation[i, j], abs=1e-5)
    assert float(first["r_low"]) < float(first["r"]) < float(first["r_high"])
    assert len(files["edges_well.csv"]) == 28
    assert [int(row["community"]) for row in files["organs_well.csv"]] == sorted(well.community)
    totals = [float(row["deviation"]) for row in files["deviation.csv"]]
    assert totals == sorted(totals, reverse=True)
    assert len(files["deviation_organs.csv"]) == 40 * 8
    differences = [abs(float(row["difference_z"])) for row in files["difference_edges.csv"]]
    assert differences == sorted(differences, reverse=True)


def test_summary_is_json_and_counts_right(analysis: Analysis) -> None:
    told = json.loads(json.dumps(summary(analysis, QUICK), allow_nan=False))
    assert told["settings"]["density"] == 0.4
    assert told["networks"][1]["significant_edges"]["family_wise"] == int(
        (analysis.networks[1].edges.family_wise <= 0.05).sum()
    )
    assert sorted(o for part in told["networks"][0]["communities"] for o in part) == sorted(analysis.organs)
    assert set(told["comparison"]["measures"]) == {"clustering", "efficiency", "modularity"}
    assert told["deviation"]["reference"] == "well"


def test_pictures_are_drawn(analysis: Analysis, tmp_path: Path) -> None:
    drawn = pictures(analysis, QUICK)
    assert sorted(drawn) == [
        "body_sick.png", "body_well.png", "circle_sick.png", "circle_well.png", "deviation.png",
        "difference.png", "matrix_sick.png", "matrix_well.png",
    ]  # fmt: skip
    for name, data in drawn.items():
        (tmp_path / name).write_bytes(data)
        image = imread(tmp_path / name)[..., :3]
        ink = (image < 0.97).any(-1)
        assert 0.01 < ink.mean() < 0.95, name
        assert not ink[0].any(), f"{name} is cut at the top"


def test_organs_on_the_body() -> None:
    assert place_of("left kidney") == place_of("Kidney_L") == place_of("kidney (left)")
    left, right = place_of("left kidney"), place_of("right kidney")
    assert left is not None
    assert right == (-left[0], left[1])
    assert place_of("urinary bladder") == place_of("bladder")
    assert place_of("gallbladder") != place_of("bladder")
    assert place_of("widget") is None
    assert place_of("lungfish") is not None  # a name that begins like a known one
    shape = outline()
    np.testing.assert_allclose(shape[:, 0].min(), -shape[:, 0].max())
    organs = [organ for module in MODULES.values() for organ in module]
    found = places([*organs, "widget", "gadget", "liver left lobe", "liver right lobe"])
    gaps = np.hypot(*(found[:, None] - found[None]).transpose(2, 0, 1)) + 9 * np.eye(len(found))
    assert gaps.min() >= 1.4
    assert all(found[n, 1] < FLOOR for n in (len(organs), len(organs) + 1))
    assert places(["widget"])[0].tolist() == [0.0, FLOOR - 4.0]


def test_pooled_groups_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    quick = Settings(permutations=2)
    analyse(small(4, sick=20, well=20), quick)
    assert "taken together" in caplog.text
    caplog.clear()
    made = simulate_cohort(np.random.default_rng(4), {"a": 20, "b": 20}, modules=SMALL)
    analyse(parse_cohort(made.table, "x", ["group"]), quick)
    assert "taken together" not in caplog.text


def test_progress_is_told_in_full() -> None:
    done: list[int] = []
    analyse(small(5, a=20, b=20), Settings(permutations=7), ["a", "b"], progress=done.append)
    assert sum(done) == deals(Settings(permutations=7), 2) == 7 * 6
    assert deals(Settings(permutations=5000), 0) == 6000


def test_analyses_that_are_refused() -> None:
    cohort = small(6, a=20, b=20, c=5)
    with pytest.raises(AnyPETError, match="two groups are analysed, got 3"):
        analyse(cohort, QUICK, ["a", "b", "c"])
    with pytest.raises(AnyPETError, match="group 'd'"):
        analyse(cohort, QUICK, ["d"])
    with pytest.raises(AnyPETError, match="5 subjects; at least 10"):
        analyse(cohort.take(np.r_[0:20, 40:45]), Settings(permutations=1), ["a"], reference="c")
    with pytest.raises(AnyPETError, match="nobody to compare"):
        analyse(cohort.take(range(20)), Settings(permutations=1), reference="a")
    flat = small(7, a=20, b=20)
    flat.uptake[:20, 2] = 1.0
    with pytest.raises(AnyPETError, match="heart"):
        analyse(flat, QUICK, ["a", "b"])
    made = simulate_cohort(np.random.default_rng(4), {"a": 20, "b": 20}, modules=SMALL)
    with pytest.raises(AnyPETError, match="cannot be a covariate"):
        analyse(parse_cohort(made.table, "x", ["group"]), Settings(permutations=1), reference="a")
    for wrong in ({"permutations": 0}, {"level": 1.0}):
        with pytest.raises(AnyPETError):
            Settings(**wrong)  # type: ignore[arg-type]


app = typer.Typer()
app.command()(network)
runner = CliRunner()


def test_the_command_on_a_simulated_cohort(tmp_path: Path) -> None:
    words = ["--covariates", "age,sex,weight", "--transform", "log", "--permutations", "19", "--no-figures"]
    out = tmp_path / "out"
    result = runner.invoke(app, ["simulated", "-o", str(out), *words])
    assert result.exit_code == 0, result.output
    told = json.loads((out / "network.json").read_text())
    assert told["about"]["adjusted_rand_index"] >= 0.8
    assert "adjusted Rand index" in result.stdout
    assert sorted(p.name for p in out.iterdir()) == [
        "cohort.csv", "correlation.csv", "edges.csv", "network.json", "organs.csv",
    ]  # fmt: skip
    again = runner.invoke(app, [str(out / "cohort.csv"), "-o", str(tmp_path / "two"), *words, "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["networks"] == told["networks"]
    assert (tmp_path / "two" / "edges.csv").read_bytes() == (out / "edges.csv").read_bytes()


def test_the_command_on_two_simulated_groups(tmp_path: Path) -> None:
    words = ["--groups", "patient,control", "--reference", "control", "--permutations", "9", "--no-figures"]
    result = runner.invoke(app, ["simulated", "-o", str(tmp_path), "--transform", "log", *words])
    assert result.exit_code == 0, result.output
    assert "patient against control" in result.stdout
    assert "of 100 subjects deviate from control" in result.stdout
    assert (tmp_path / "deviation.csv").is_file()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--kind", "odd"], "--kind takes plain or partial"),
        (["--sign", "odd"], "--sign takes"),
        (["--missing", "odd"], "--missing takes"),
        (["--density", "0.2", "--threshold", "0.3"], "one of them"),
        (["--groups", "x"], "group 'x'"),
    ],
)
def test_the_command_refuses(tmp_path: Path, words: list[str], fault: str) -> None:
    (tmp_path / "c.csv").write_text(
        "subject,group,a,b,c\n" + "".join(f"s{n},g,{n + 1},{n % 3 + 1},{n % 4 + 1}\n" for n in range(12))
    )
    result = runner.invoke(app, [str(tmp_path / "c.csv"), "-o", str(tmp_path / "o"), *words])
    assert isinstance(result.exception, AnyPETError)
    assert fault in str(result.exception)


def test_communities_do_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from anypet.quantify.network.graph import *; "
        "r = np.corrcoef(np.random.default_rng(0).normal(size=(12, 9))); "
        "g = graph_of(Threshold(density=0.4).weights(r), [f'organ{n}' for n in range(12)]); "
        "p, q = communities(g); print(labels_of(p, list(g)), repr(q), repr(small_world(g)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1
