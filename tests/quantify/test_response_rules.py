"""PERCIST, Deauville, qPET, TMTV, PSMA volume and RECIP on cases whose answer is known."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from anypet.errors import AnyPETError
from anypet.quantify.deauville import deauville, qpet
from anypet.quantify.lymphoma import preselect, total_metabolic_volume
from anypet.quantify.measures import Measures
from anypet.quantify.proposal import NOTICE, Proposal
from anypet.quantify.psma import psma_volume, recip
from anypet.quantify.regions import Form, Region, placed
from anypet.quantify.response import TimePoint, percist
from anypet.quantify.spread import Spread
from anypet.quantify.suv import KINDS, SUVKind
from anypet.quantify.table import MeasureTable
from anypet.quantify.threshold import fixed, of_maximum
from anypet.volume import Volume
from spheres import ball, empty, painted

SUL = KINDS["lbm"]


def table(*lesions: tuple[float, float], suv: SUVKind = SUL) -> MeasureTable:
    """A table of lesions with a SULpeak and a TLG each."""
    rows = tuple(
        Measures(n, f"lesion {n}", 10, 1.0, suv_max=1.2 * peak, suv_peak=peak, tlg=tlg)
        for n, (peak, tlg) in enumerate(lesions, start=1)
    )
    best = max((peak for peak, _ in lesions), default=None)
    total = Measures(
        0, "total", 10, 1.0, suv_max=None if best is None else 1.2 * best, suv_peak=best, tlg=1.0
    )
    return MeasureTable(rows, total, Spread(len(rows), 26), suv, "inside")


def region(mean: float, sd: float = 0.1, name: str = "liver", unit: str = "SUVlbm") -> Region:
    """A region of two voxels with a mean and a standard deviation."""
    scan = Volume(np.array([[[mean - sd, mean + sd]]]), np.eye(4), unit)
    return placed(scan, Form(4.0), (0, 0, 0.5), name)


def visit(*lesions: tuple[float, float], liver: float | None = 1.6, **more: Any) -> TimePoint:
    settings: dict[str, Any] = {"uptake_minutes": 60.0, **more}
    return TimePoint(table(*lesions), None if liver is None else region(liver), **settings)


@pytest.mark.parametrize(
    ("baseline", "followup", "new", "result"),
    [
        (visit((8.0, 100)), visit((5.5, 60)), [], "PMR"),  # -31 %, -2.5
        (visit((8.0, 100)), visit((5.6, 60)), [], "PMR"),  # -30 % exactly
        (visit((8.0, 100)), visit((5.7, 60)), [], "SMD"),  # -29 %
        (visit((2.61, 20)), visit((1.82, 20)), [], "SMD"),  # -30 %, but only -0.79
        (visit((8.0, 100)), visit((10.5, 100)), [], "PMD"),  # +31 %, +2.5
        (visit((8.0, 100)), visit((10.4, 100)), [], "SMD"),  # +30 % exactly
        (visit((2.61, 20)), visit((3.4, 20)), [], "SMD"),  # +30 %, but only +0.79
        (visit((8.0, 100)), visit((7.9, 176)), [], "PMD"),  # TLG +76 %
        (visit((8.0, 100)), visit((7.9, 174)), [], "SMD"),
        (visit((8.0, 100)), visit((5.5, 60)), ["lesion 2"], "PMD"),  # better, but a new lesion
        (visit((8.0, 100)), visit((1.5, 5)), [], "CMR"),  # below the liver
        (visit((8.0, 100)), visit(), [], "CMR"),
        (visit((2.5, 100)), visit((1.0, 5)), [], "NE"),  # 1.5 x 1.6 + 2 x 0.1 = 2.6 is needed
        (visit(), visit((9.0, 5)), ["lesion 1"], "NE"),
        (visit((8.0, 50), (6.0, 50)), visit((6.5, 60), (5.0, 10)), [], "SMD"),  # the hottest of each, -19 %
        (visit((8.0, 50), (6.0, 50)), visit((5.5, 60), (3.0, 10)), [], "PMR"),
        # six lesions: the coolest one's TLG does not count
        (visit(*[(8.0, 10)] * 5, (3.0, 10)), visit(*[(8.0, 10)] * 5, (3.0, 500)), [], "SMD"),
    ],
)
def test_percist(baseline: TimePoint, followup: TimePoint, new: list[str], result: str) -> None:
    found = percist(baseline, followup, new)
    assert found.result == result
    assert found.inputs["SUL"] == "SUVlbm"
    assert found.inputs["SULpeak needed at baseline"] == pytest.approx(2.6)
    assert [w for w in found.warnings if "is it one?" not in w] == []


def test_percist_doubts_a_tiny_new_lesion() -> None:
    rows = table((5.0, 60), (3.0, 1)).rows
    tiny = dataclasses.replace(rows[1], volume_ml=0.06)
    after = dataclasses.replace(table((5.0, 60), (3.0, 1)), rows=(rows[0], tiny))
    point = TimePoint(after, region(1.6), uptake_minutes=60.0)
    assert percist(visit((8.0, 100)), point, ["lesion 2"]).warnings == (
        "new lesion 'lesion 2' has only 0.06 mL: is it one?",
    )


def test_percist_with_a_diseased_liver_takes_the_blood_pool() -> None:
    def blooded(*lesions: tuple[float, float]) -> TimePoint:
        return visit(*lesions, liver=None, blood_pool=region(1.2, 0.1, "blood pool"))

    assert percist(blooded((2.5, 10)), blooded((2.5, 10))).result == "NE"
    found = percist(blooded((2.7, 10)), blooded((1.1, 10)))
    assert found.result == "CMR"
    assert found.inputs["SULpeak needed at baseline"] == pytest.approx(2 * 1.2 + 2 * 0.1)
    assert "blood pool" in found.inputs["reference"]


def test_percist_background_is_the_blood_pool_too_where_it_is_given() -> None:
    pool = region(1.2, 0.1, "blood pool")
    after = visit((1.5, 5), blood_pool=pool)
    assert percist(visit((8.0, 100), blood_pool=pool), after).result == "PMR"
    assert percist(visit((8.0, 100), blood_pool=pool), visit((1.1, 5), blood_pool=pool)).result == "CMR"


def test_percist_says_where_scans_are_not_comparable() -> None:
    found = percist(
        visit((8.0, 100), uptake_minutes=50.0), visit((5.0, 60), liver=2.0, uptake_minutes=70.0)
    ).warnings
    assert any("1.60 to 2.00" in text for text in found)
    assert any("15 min" in text for text in found)
    unknown = percist(visit((8.0, 100), uptake_minutes=None), visit((5.0, 60))).warnings
    assert any("not both known" in text for text in unknown)
    mixed = percist(
        visit((8.0, 100)), visit((5.0, 60), liver=None, blood_pool=region(1.2, 0.1, "blood pool"))
    ).warnings
    assert any("references differ" in text for text in mixed)


def test_percist_refuses_other_suvs() -> None:
    wrong = TimePoint(table((8.0, 100), suv=KINDS["bw"]), region(1.6, unit="SUVbw"))
    with pytest.raises(AnyPETError, match="PERCIST compares SUL"):
        percist(wrong, wrong)
    with pytest.raises(AnyPETError, match=r"SUVlbm, SUVlbm-james"):
        percist(visit((8.0, 100)), TimePoint(table((8.0, 9)), region(1.6, unit="SUVlbm-james")))
    with pytest.raises(AnyPETError, match="needs the liver"):
        percist(TimePoint(table((8.0, 100))), visit((8.0, 100)))


@pytest.mark.parametrize(
    ("suv_max", "new", "score", "q", "q_score"),
    [
        (None, 0, "1", "none", "1 or 2"),
        (1.1, 0, "2", "0.46", "1 or 2"),
        (1.9, 0, "3", "0.79", "1 or 2"),
        (2.1, 0, "3", "0.88", "1 or 2"),
        (2.4, 0, "4", "1.00", "3"),
        (4.2, 0, "4", "1.75", "4"),
        (4.8, 0, "5", "2.00", "5"),
        (1.1, 1, "5", "0.46", "5"),
    ],
)
def test_deauville_and_qpet(suv_max: float | None, new: int, score: str, q: str, q_score: str) -> None:
    """Liver 2.0 with SUVmax 2.1, blood pool 1.5 with SUVmax 1.6; SUVpeak is SUVmax / 1.2."""
    left = table(*([] if suv_max is None else [(suv_max / 1.2, 5.0)]))
    liver, pool = region(2.0), region(1.5, name="blood pool")
    found, ratio = deauville(left, liver, pool, new), qpet(left, liver, new)
    assert found.result == score
    assert ratio.result == q
    assert ratio.inputs["Deauville score"] == q_score
    assert found.inputs["liver SUVmax"] == pytest.approx(2.1)


def test_deauville_warns_and_refuses() -> None:
    liver, pool = region(1.2), region(1.6, name="blood pool")
    assert "liver alone" in deauville(table((1.0, 5)), liver, pool).warnings[0]
    assert deauville(table((3.0, 5)), region(2.0), pool, markedly=1.5).result == "5"
    with pytest.raises(AnyPETError, match="different SUVs"):
        deauville(table((1.0, 5)), region(1.2, unit="SUVbw"), pool)
    with pytest.raises(AnyPETError, match="positive"):
        qpet(table((1.0, 5)), region(-0.5))


# balls of 7.2, 2.1 and 14.1 mL; the last is warm only
BODY = painted(
    empty((2.0, 2.0, 2.0), 120.0), ((-30, 0, 0), 12.0, 8.0), ((0, 0, 0), 8.0, 6.0), ((30, 0, 0), 15.0, 3.5)
)
WIDE = {"left": ball(BODY, (-30, 0, 0), 16.0), "rest": ball(BODY, (15, 0, 0), 45.0)}


def millilitres(*radii: float) -> float:
    return sum(4 / 3 * np.pi * r**3 / 1000 for r in radii)


def test_tmtv_counts_what_is_hot_and_large_enough() -> None:
    found = total_metabolic_volume(BODY, WIDE)
    assert found.inputs["TMTV, mL"] == pytest.approx(millilitres(12), rel=0.02)
    assert found.inputs["lesions counted"] == 1
    assert found.inputs["lesions below the smallest volume"] == 1
    assert "Boellaard" in found.source
    everything = total_metabolic_volume(BODY, WIDE, fixed(2.5))
    assert everything.inputs["TMTV, mL"] == pytest.approx(millilitres(12, 8, 15), rel=0.02)
    shares = total_metabolic_volume(BODY, WIDE, of_maximum(0.41), smallest_ml=3.0)
    assert shares.inputs["TMTV, mL"] == pytest.approx(millilitres(12, 15), rel=0.02)
    assert shares.inputs["smallest volume, mL"] == 3.0
    assert "EANM" in shares.source
    with pytest.raises(AnyPETError, match="SUVbw"):
        total_metabolic_volume(BODY.with_array(BODY.array, "SUVlbm"), WIDE)


def test_preselection_of_the_benchmark() -> None:
    labels = preselect(BODY)
    assert labels.meta["names"] == {1: "region 1"}
    np.testing.assert_array_equal(labels.array == 1, ball(BODY, (-30, 0, 0), 12.0))
    assert len(preselect(BODY, 3.0, 0.0).meta["names"]) == 3
    assert total_metabolic_volume(BODY, labels).inputs["TMTV, mL"] == pytest.approx(millilitres(12), rel=0.02)


def test_psma_volume() -> None:
    found = psma_volume(BODY, WIDE)
    volume = millilitres(12, 8, 15)
    assert found.inputs["PSMA-TV, mL"] == pytest.approx(volume, rel=0.02)
    total = 8 * millilitres(12) + 6 * millilitres(8) + 3.5 * millilitres(15)
    assert found.inputs["PSMA-TL, SUV x mL"] == pytest.approx(total, rel=0.02)
    assert found.inputs["SUVmean"] == pytest.approx(total / volume, rel=0.01)
    assert found.inputs["lesions"] == 3
    nothing = psma_volume(BODY, WIDE, fixed(50.0))
    assert (nothing.result, nothing.inputs["SUVmax"], nothing.inputs["lesions"]) == ("0.0 mL", None, 0)
    with pytest.raises(AnyPETError, match="SUVbw"):
        psma_volume(BODY.with_array(BODY.array, "SUVlbm"), WIDE)


@pytest.mark.parametrize(
    ("before", "after", "new", "result"),
    [
        (100, 0, 0, "RECIP-CR"),
        (100, 70, 0, "RECIP-PR"),
        (100, 71, 0, "RECIP-SD"),
        (100, 20, 2, "RECIP-SD"),
        (100, 120, 1, "RECIP-PD"),
        (100, 119, 3, "RECIP-SD"),
        (100, 300, 0, "RECIP-SD"),
    ],
)
def test_recip(before: float, after: float, new: int, result: str) -> None:
    assert recip(before, after, new).result == result


def test_recip_refuses_what_makes_no_sense() -> None:
    for arguments in ((0, 10, 0), (10, -1, 0), (10, 10, -1)):
        with pytest.raises(AnyPETError, match="RECIP needs"):
            recip(*arguments)


def test_every_proposal_prints_inputs_rule_source_and_notice() -> None:
    proposals: list[Proposal] = [
        percist(visit((8.0, 100)), visit((5.0, 60), uptake_minutes=None), ["lesion [7]"]),
        deauville(table((1.0, 5)), region(2.0), region(1.5, name="blood pool")),
        qpet(table((1.0, 5)), region(2.0)),
        total_metabolic_volume(BODY, WIDE),
        psma_volume(BODY, WIDE),
        recip(100, 50, 0),
    ]
    for proposal in proposals:
        console = Console(file=io.StringIO(), width=2000)
        console.print(proposal.rich())
        text = console.file.getvalue()  # type: ignore[attr-defined]
        for words in (
            proposal.criterion,
            proposal.result,
            proposal.source,
            NOTICE,
            *proposal.rule,
            *proposal.warnings,
        ):
            assert words in text
        for name in proposal.inputs:
            assert name in text
        told = json.loads(json.dumps(proposal.as_dict(), allow_nan=False))
        assert told["result"] == proposal.result
        assert told["notice"] == NOTICE
    assert "lesion [7]" in json.dumps(proposals[0].as_dict())
