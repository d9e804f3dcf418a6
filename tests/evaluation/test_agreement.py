"""Agreement of readers: consensus, matched lesions, sums over cases, annotation times, the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.image import imread
from scipy import ndimage
from typer.testing import CliRunner

import anypet
from anypet.cli.compare import compare
from anypet.errors import AnyPETError
from anypet.evaluation.agreement import compare_case, match_lesions, summarise_agreement
from anypet.evaluation.agreement_report import limits_text
from anypet.evaluation.annotation_time import EVERYBODY, Timer, read_timers, time_saved
from anypet.evaluation.consensus import staple
from anypet.evaluation.metrics import dice
from anypet.evaluation.readings import find_cases, load_case
from anypet.evaluation.reliability import bland_altman, icc
from anypet.volume import Volume

SHAPE = (20, 16, 12)
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])  # a voxel is 0.08 mL


def ball(
    centre: tuple[float, float, float], radius: float, shape: tuple[int, int, int] = SHAPE
) -> np.ndarray:
    grid = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(grid - centre, axis=-1) <= radius


def box(*spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def test_staple_finds_the_truth_and_who_is_right() -> None:
    truth = ball((12, 12, 12), 7, (25, 25, 25))
    rng = np.random.default_rng(0)
    shares = [(0.95, 0.99), (0.9, 0.98), (0.92, 0.97), (0.6, 0.8)]  # sensitivity, specificity
    masks = [
        np.where(truth, rng.random(truth.shape) < inside, rng.random(truth.shape) > outside)
        for inside, outside in shares
    ]
    found = staple(masks)
    assert dice(found.mask, truth) > 0.97
    assert dice(found.mask, truth) > max(dice(mask, truth) for mask in masks)
    assert found.sensitivity == pytest.approx([s for s, _ in shares], abs=0.05)
    inside_of_box = (25 / 29) ** 3  # two voxels of agreed background are added on every side
    expected = [1 - (1 - s) * inside_of_box for _, s in shares]
    assert found.specificity == pytest.approx(expected, abs=0.02)
    assert int(np.argmin(found.sensitivity)) == 3


def test_staple_of_the_same_masks_of_nothing_and_of_an_outlier() -> None:
    one, far = ball((9, 8, 6), 4), ball((3, 3, 3), 2)
    same = staple([one, one, one])
    np.testing.assert_array_equal(same.mask, one)
    assert same.sensitivity == pytest.approx([1, 1, 1], abs=1e-3)
    nothing = staple([np.zeros(SHAPE, bool)] * 2)
    assert not nothing.mask.any()
    assert np.isnan(nothing.sensitivity).all()
    outvoted = staple([one, one, one | far])
    np.testing.assert_array_equal(outvoted.mask, one)
    assert outvoted.specificity[2] < outvoted.specificity[0]


def test_staple_does_not_depend_on_the_air_around() -> None:
    masks = [ball((9, 8, 6), r) for r in (3.0, 3.6, 4.2)]
    wide = [np.pad(mask, 30) for mask in masks]
    near, far = staple(masks), staple(wide)
    np.testing.assert_array_equal(np.pad(near.mask, 30), far.mask)
    assert far.specificity == pytest.approx(near.specificity)
    assert masks[0][near.mask].all() or near.mask[masks[0]].all()
    assert not (near.mask & ~masks[2]).any()


def test_staple_refuses() -> None:
    with pytest.raises(AnyPETError, match="two or more"):
        staple([np.ones(SHAPE, bool)])
    with pytest.raises(AnyPETError, match="one shape"):
        staple([np.ones(SHAPE, bool), np.ones((2, 2, 2), bool)])


def test_lesions_are_matched_one_to_one() -> None:
    first = box((0, 4), (0, 4), (0, 4)) | box((10, 14), (0, 4), (0, 4)) | box((0, 3), (10, 13), (0, 3))
    second = box((2, 6), (0, 4), (0, 4)) | box((10, 14), (0, 1), (0, 4)) | box((10, 14), (2, 4), (0, 4))
    found = match_lesions(first, second)
    # cubes that share half: 0.5; of two pieces of one lesion the larger: 2 * 32 / (64 + 32); one alone
    assert (found.first, found.second, found.matched) == (3, 3, 2)
    assert found.dsc == pytest.approx((0.5 + 2 / 3) / 2)
    assert found.agreement == pytest.approx(4 / 6)
    back = match_lesions(second, first)
    assert (back.matched, back.dsc) == pytest.approx((2, found.dsc))
    empty = np.zeros(SHAPE, bool)
    assert match_lesions(first, empty).agreement == 0
    assert np.isnan(match_lesions(empty, empty).agreement)
    assert match_lesions(first, first).agreement == match_lesions(first, first).dsc == 1


def test_matching_takes_the_best_sum_not_the_first() -> None:
    # the first lesion touches both of the other reader's, the second only the first of them
    first = box((0, 6), (0, 2), (0, 2)) | box((0, 2), (3, 8), (0, 2))
    second = box((0, 2), (0, 6), (0, 2)) | box((4, 8), (0, 2), (0, 2))
    found = match_lesions(first, second)
    assert (found.first, found.second, found.matched) == (2, 2, 2)


def case_masks(seed: int) -> tuple[dict[str, np.ndarray], Volume]:
    rng = np.random.default_rng(seed)
    truth = ball(tuple(rng.uniform(7, 9, 3)), rng.uniform(2, 5)) | ball((15, 4, 4), 1.5)
    suv = np.where(truth, 6.0, 1.0) + 0.1 * rng.normal(size=SHAPE)
    masks = {"anna": truth, "ben": ndimage.binary_dilation(truth), "model": np.roll(truth, 1, axis=0)}
    return masks, Volume(suv.astype(np.float32), AFFINE, "SUVbw")


def test_a_case_by_hand() -> None:
    masks, pet = case_masks(0)
    found = compare_case("one", masks, pet, with_uptake=True)
    assert [(p.first, p.second) for p in found.pairs] == [
        ("anna", "ben"),
        ("anna", "model"),
        ("ben", "model"),
    ]
    readings = {r.reader: r for r in found.readings}
    for name, mask in masks.items():
        assert readings[name].volume_ml == pytest.approx(mask.sum() * 0.08)
        assert readings[name].suvmean == pytest.approx(pet.array[mask].mean(), rel=1e-5)
        assert readings[name].tlg == pytest.approx(pet.array[mask].mean() * mask.sum() * 0.08, rel=1e-5)
        assert readings[name].lesions == 2
        assert found.consensus is not None
        assert readings[name].dsc_consensus == pytest.approx(dice(found.consensus.mask, mask))
    overlap = 2 * (masks["anna"] & masks["ben"]).sum() / (masks["anna"].sum() + masks["ben"].sum())
    assert found.pairs[0].dsc == pytest.approx(overlap)
    assert 0 < found.pairs[0].nsd < 1
    assert found.pairs[0].lesions.matched == 2


def test_a_case_without_pet_or_consensus_and_what_is_refused() -> None:
    masks, pet = case_masks(1)
    found = compare_case("one", masks, pet, consensus=False)
    assert found.consensus is None
    assert np.isnan(
        [v for r in found.readings for v in (r.tlg, r.suvmean, r.sensitivity, r.dsc_consensus)]
    ).all()
    with pytest.raises(AnyPETError, match="two readers, got anna"):
        compare_case("one", {"anna": masks["anna"]}, pet)
    with pytest.raises(AnyPETError, match=r"mask of ben has shape \(2, 2, 2\)"):
        compare_case("one", {"anna": masks["anna"], "ben": np.ones((2, 2, 2), bool)}, pet)


def test_sums_over_cases() -> None:
    readings, pairs = [], []
    for seed in range(6):
        masks, pet = case_masks(seed)
        if seed == 5:
            masks = {name: np.zeros(SHAPE, bool) for name in masks}  # nobody sees anything
        found = compare_case(f"case {seed}", masks, pet, with_uptake=True)
        readings += found.readings
        pairs += found.pairs
    summary = summarise_agreement(readings, pairs)
    first = summary.pairs[0]
    chosen = [p for p in pairs if (p.first, p.second) == ("anna", "ben")]
    assert first.dsc.mean == pytest.approx(np.mean([p.dsc for p in chosen[:5]]))
    assert (first.dsc.patients, first.dsc.undefined) == (5, 1)
    total = sum(p.lesions.first + p.lesions.second for p in chosen)
    assert first.lesions == pytest.approx(2 * sum(p.lesions.matched for p in chosen) / total)
    volumes = np.array(
        [[r.volume_ml for r in readings if r.reader == name] for name in ("anna", "ben", "model")]
    )
    assert first.limits["volume_ml"][0] == bland_altman(volumes[0], volumes[1])
    assert first.limits["volume_ml"][1] == bland_altman(volumes[0], volumes[1], relative=True)
    assert summary.icc["all", "volume_ml"] == icc(volumes.T)
    assert summary.icc["all", "suvmean"].cases == 5
    assert limits_text(first.limits["tlg"][0]).startswith("-")
    assert limits_text(bland_altman([2.0], [1.0])) == "+1.0"
    assert limits_text(bland_altman([], [])) == "–"


def folders(tmp_path: Path, cases: int = 4) -> list[Path]:
    """Folders pet, anna, ben, model with a file each case."""
    found = {name: tmp_path / name for name in ("pet", "anna", "ben", "model")}
    for path in found.values():
        path.mkdir()
    for seed in range(cases):
        masks, pet = case_masks(seed)
        anypet.write(pet, found["pet"] / f"case{seed}.nii.gz")
        for name, mask in masks.items():
            labels = Volume(mask.astype(np.uint8), AFFINE, "label")
            anypet.write(labels, found[name] / f"case{seed}.nrrd")
    return list(found.values())


def test_cases_in_common(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pet, anna, ben, model = folders(tmp_path)
    (ben / "case3.nrrd").unlink()
    (ben / "notes.txt").write_text("not a case")
    cases = find_cases([anna, ben, model], pet=pet)
    assert [case.name for case in cases] == ["case0", "case1", "case2"]
    assert list(cases[0].labels) == ["anna", "ben", "model"]
    assert cases[0].pet == pet / "case0.nii.gz"
    assert "1 cases of anna" in caplog.text
    one = find_cases([anna / "case0.nrrd", ben / "case0.nrrd"])
    assert (one[0].name, list(one[0].labels)) == ("case0", ["anna/case0", "ben/case0"])
    named = find_cases([anna / "case0.nrrd", ben / "case0.nrrd"], ["A", "B"])
    assert list(named[0].labels) == ["A", "B"]


def test_sources_that_do_not_fit(tmp_path: Path) -> None:
    _, anna, ben, model = folders(tmp_path, 2)
    file = anna / "case0.nrrd"
    for sources, words, options in (
        ([anna], "two readers or more", {}),
        ([anna, tmp_path / "none"], "no such file", {}),
        ([anna, file], "not both", {}),
        ([anna, ben], "different names", {"names": ["x", "x"]}),
        ([anna, ben], "as many different names", {"names": ["x"]}),
        ([anna, tmp_path], "no case is in all", {}),
        ([anna, ben], "no PET for case 'case0'", {"pet": model / "empty"}),
    ):
        (model / "empty").mkdir(exist_ok=True)
        with pytest.raises(AnyPETError, match=words):
            find_cases(sources, **options)  # type: ignore[arg-type]
    (anna / "case0.mha").write_bytes(b"")
    with pytest.raises(AnyPETError, match=r"both case 'case0'"):
        find_cases([anna, ben])


def test_labels_by_name_and_on_other_grids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    liver, spleen = ball((8, 8, 6), 4), ball((15, 4, 4), 2)
    one = Volume((liver + 2 * spleen).astype(np.uint8), AFFINE, "label", {"names": {1: "liver", 2: "spleen"}})
    other = Volume((3 * liver).astype(np.uint8), AFFINE, "label", {"names": {3: "liver"}})
    coarse = np.diag([8.0, 8.0, 10.0, 1.0])
    coarse[:3, 3] = [2.0, 2.0, 2.5]  # its voxels' centres lie between those of 2 x 2 x 2
    third = Volume(liver.reshape(10, 2, 8, 2, 6, 2).mean((1, 3, 5)).round().astype(np.uint8), coarse, "label")
    for name, volume in (("a", one), ("b", other), ("c", third)):
        anypet.write(volume, tmp_path / f"{name}.nii.gz")
    (case,) = find_cases([tmp_path / f"{n}.nii.gz" for n in "abc"])
    grid, targets = load_case(case, by_label=True)
    assert list(targets) == ["liver", "spleen", "label 1"]
    np.testing.assert_array_equal(targets["liver"]["a"], targets["liver"]["b"])
    assert not targets["spleen"]["b"].any()
    assert grid.shape == SHAPE
    assert "c are on another grid" in caplog.text
    assert dice(targets["label 1"]["c"], liver) > 0.8
    _, together = load_case(case)
    np.testing.assert_array_equal(together["all"]["a"], liver | spleen)


def test_a_pet_in_another_unit_is_refused(tmp_path: Path) -> None:
    pet, anna, ben, _ = folders(tmp_path, 1)
    _, volume = case_masks(0)
    anypet.write(Volume(volume.array, AFFINE, "Bq/mL"), pet / "case0.nii.gz")
    with pytest.raises(AnyPETError, match=r"Bq/mL, TLG needs SUVbw"):
        load_case(find_cases([anna, ben], pet=pet)[0])


TIMES = [
    ("a", "1", 600, 60),
    ("a", "2", 500, 100),
    ("a", "3", 800, 200),
    ("b", "1", 900, 90),
    ("b", "2", 400, 100),
]


def timers() -> list[Timer]:
    rows = []
    for reader, case, manual, assisted in TIMES:
        rows.append(Timer(reader=reader, case=case, method="manual", seconds=manual))
        rows.append(Timer(reader=reader, case=case, method="clicks", seconds=assisted))
    return [*rows, Timer(reader="b", case="4", method="manual", seconds=1.0)]  # not worked with clicks


def test_time_saved_by_hand() -> None:
    one, two, both = time_saved(timers(), "manual")
    assert (one.reader, two.reader, both.reader, both.method) == ("a", "b", EVERYBODY, "clicks")
    assert (one.cases, two.cases, both.cases) == (3, 2, 3)
    assert one.share[0] == pytest.approx(0.8)  # of 0.9, 0.8, 0.75
    assert two.share[0] == pytest.approx((0.9 + 0.75) / 2)
    assert both.share[0] == pytest.approx(0.8)  # of 0.75, 0.75, 0.8, 0.9, 0.9
    assert one.saved_seconds[0] == 540  # of 540, 400, 600
    assert (one.reference_seconds, one.seconds) == (600, 100)
    assert one.share[1] == pytest.approx(0.75)
    assert one.share[2] == pytest.approx(0.9)
    assert time_saved(timers(), "manual") == [one, two, both]


def test_interval_of_the_time_saved() -> None:
    rng = np.random.default_rng(0)
    study = []
    for case in range(40):
        slow = rng.uniform(300, 900)
        for reader in ("a", "b"):
            study.append(Timer(reader=reader, case=str(case), method="manual", seconds=slow))
            quick = slow * np.clip(rng.normal(0.2, 0.05), 0.01, 1)
            study.append(Timer(reader=reader, case=str(case), method="clicks", seconds=quick))
    both = time_saved(study, "manual")[-1]
    assert both.share[1] < 0.8 < both.share[2]
    assert 0.005 < both.share[2] - both.share[1] < 0.05


def times_file(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "times.csv"
    path.write_text("\n".join(["reader,case,method,seconds", *lines]) + "\n")
    return path


def test_timers_from_a_file(tmp_path: Path) -> None:
    found = read_timers(times_file(tmp_path, ["a,1,manual,60.5", "a,1,clicks,6"]))
    assert found[0] == Timer(reader="a", case="1", method="manual", seconds=60.5)
    for lines, words in (
        (["a,1,manual,sixty"], "row 2, column seconds: is 'sixty'"),
        (["a,1,manual,0"], "row 2, column seconds"),
        (["a,,manual,5"], "row 2, column case"),
        (["a,1,manual,5", "a,1,manual,6"], "row 3: a / 1 / manual is in row 2 already"),
    ):
        with pytest.raises(AnyPETError, match=words):
            read_timers(times_file(tmp_path, lines))
    (tmp_path / "short.csv").write_text("reader,case\na,1\n")
    with pytest.raises(AnyPETError, match="no column method, seconds"):
        read_timers(tmp_path / "short.csv")
    with pytest.raises(AnyPETError, match="does not exist"):
        read_timers(tmp_path / "none.csv")
    with pytest.raises(AnyPETError, match="'hand'; the table has manual, clicks"):
        time_saved(timers(), "hand")
    alone = [Timer(reader=r, case="1", method=m, seconds=1) for r, m in (("a", "manual"), ("b", "clicks"))]
    with pytest.raises(AnyPETError, match="nobody worked"):
        time_saved(alone, "manual")


app = typer.Typer()
app.command()(compare)
runner = CliRunner()


def test_the_command(tmp_path: Path) -> None:
    pet, anna, ben, model = folders(tmp_path)
    lines = [f"{t.reader},{t.case},{t.method},{t.seconds}" for t in timers()]
    times = times_file(tmp_path, lines)
    out = tmp_path / "out"
    words = [*map(str, (anna, ben, model)), "--pet", str(pet), "--times", str(times), "-o", str(out)]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "ICC(2,1)" in result.stdout
    told = json.loads((out / "agreement.json").read_text())
    assert [(p["first"], p["second"]) for p in told["pairs"]] == [
        ("anna", "ben"), ("anna", "model"), ("ben", "model"),
    ]  # fmt: skip
    assert told["annotation_time"][-1]["share"][0] == pytest.approx(0.8)
    assert {row["measure"] for row in told["icc"]} == {"volume_ml", "tlg", "suvmean"}
    assert told["about"]["suv"] == "SUVbw"
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    masks, _ = case_masks(0)
    assert float(rows[0]["dsc"]) == pytest.approx(dice(masks["anna"], masks["ben"]), abs=1e-5)
    for name in ("readings.csv", "summary.csv", "times.csv"):
        with (out / name).open() as file:
            assert all(None not in row and None not in row.values() for row in csv.DictReader(file))
    consensus = anypet.io.read_labels(out / "consensus" / "case0.nii.gz")
    np.testing.assert_array_equal(consensus.array > 0, staple(list(masks.values())).mask)
    np.testing.assert_allclose(consensus.affine, AFFINE)
    drawn = sorted(p.name for p in out.glob("*.png"))
    assert drawn == [
        "bland_altman_anna_ben.png", "bland_altman_anna_model.png", "bland_altman_ben_model.png",
        "overlap.png", "times.png",
    ]  # fmt: skip
    for name in drawn:
        ink = (imread(out / name)[..., :3] < 0.97).any(-1)
        assert 0.01 < ink.mean() < 0.6, name


def test_the_command_by_label_without_pet(tmp_path: Path) -> None:
    for name, radius in (("a", 4), ("b", 3)):
        array = ball((8, 8, 6), radius) + 2 * ball((15, 4, 4), 2)
        names = {1: "liver", 2: "spleen"}
        anypet.write(
            Volume(array.astype(np.uint8), AFFINE, "label", {"names": names}), tmp_path / f"{name}.nii.gz"
        )
    words = [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"), "-o", str(tmp_path / "o"), "--by-label"]
    result = runner.invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [p["target"] for p in told["pairs"]] == ["liver", "spleen"]
    assert told["pairs"][1]["dsc"]["mean"] == 1
    assert "tlg" not in told["pairs"][0]["limits_of_agreement"]
    assert set(anypet.io.read_labels(tmp_path / "o/consensus/a.nii.gz").meta["names"].values()) == {
        "liver",
        "spleen",
    }
    result = runner.invoke(app, [*words[:-1], "--names", "x,y", "--no-consensus"])
    assert result.exit_code == 0, result.output
    assert "x / y" in result.stdout


def test_the_command_with_times_alone_and_with_nothing(tmp_path: Path) -> None:
    lines = [f"{t.reader},{t.case},{t.method},{t.seconds}" for t in timers()]
    result = runner.invoke(app, ["--times", str(times_file(tmp_path, lines)), "-o", str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
    assert "80.0%" in result.stdout
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["agreement.json", "times.csv", "times.png"]
    nothing = runner.invoke(app, ["-o", str(tmp_path / "o")])
    assert isinstance(nothing.exception, AnyPETError)
