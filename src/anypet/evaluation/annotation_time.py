"""What an assisted method saves in a reader's time: a study of timers, reader by reader and case by case.

Every reader works every case by both methods. The saving of a case is 1 - assisted / reference; its median is
reported, because single interrupted sessions spoil means. For the interval cases are drawn with replacement,
each with all its readers, as one case is slow or quick for everybody.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pydantic

from anypet.errors import AnyPETError
from anypet.evaluation.statistics import RESAMPLES

EVERYBODY = "everybody"


class Timer(pydantic.BaseModel):
    """One row of the study.

    Args:
        reader, case, method: who worked what, and how.
        seconds: how long, above 0.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    reader: Annotated[str, pydantic.Field(min_length=1)]
    case: Annotated[str, pydantic.Field(min_length=1)]
    method: Annotated[str, pydantic.Field(min_length=1)]
    seconds: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Saving:
    """The median time saved.

    Args:
        reader: who; `EVERYBODY` for all together.
        method: in place of the reference.
        cases: cases worked by both methods.
        reference_seconds, seconds: median of either.
        share: median of 1 - seconds / reference, with its 95 % interval (low, high).
        saved_seconds: median of the difference, with its interval.
    """

    reader: str
    method: str
    cases: int
    reference_seconds: float
    seconds: float
    share: tuple[float, float, float]
    saved_seconds: tuple[float, float, float]


def read_timers(path: Path | str) -> list[Timer]:
    """Reads a CSV with the columns reader, case, method, seconds; others are ignored.

    Raises:
        AnyPETError: no such file, a column is missing, or a row is wrong or there twice; it is named.
    """
    path = Path(path)
    if not path.is_file():
        raise AnyPETError(f"the table of timers {path} does not exist")
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        missing = [name for name in Timer.model_fields if name not in (table.fieldnames or ())]
        if missing:
            raise AnyPETError(f"{path.name} has no column {', '.join(missing)}")
        timers: list[Timer] = []
        seen: dict[tuple[str, str, str], int] = {}
        for row in table:
            try:
                timer = Timer.model_validate({k: v for k, v in row.items() if k is not None})
            except pydantic.ValidationError as error:
                first = error.errors()[0]
                raise AnyPETError(
                    f"{path.name}, row {table.line_num}, column {first['loc'][0]}: is {first['input']!r}: "
                    f"{first['msg']}"
                ) from None
            key = (timer.reader, timer.case, timer.method)
            if key in seen:
                raise AnyPETError(
                    f"{path.name}, row {table.line_num}: {' / '.join(key)} is in row {seen[key]} already; "
                    "add the times of one case up"
                )
            seen[key] = table.line_num
            timers.append(timer)
    return timers


def time_saved(
    timers: Sequence[Timer], reference: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Saving]:
    """The saving of every other method, for each reader and for all together.

    Args:
        timers: of the study; a case that a reader did not work by both methods does not count for them.
        reference: the method that is replaced.
        resamples, seed: of the bootstrap.

    Raises:
        AnyPETError: the reference is not in the table, or no case was worked by both methods.
    """
    methods = list(dict.fromkeys(t.method for t in timers))
    if reference not in methods:
        known = ", ".join(methods) or "none"
        raise AnyPETError(f"no timer is of the method {reference!r}; the table has {known}")
    seconds = {(t.reader, t.case, t.method): t.seconds for t in timers}
    readers = list(dict.fromkeys(t.reader for t in timers))
    savings = []
    for method in methods:
        if method == reference:
            continue
        pairs = {
            (reader, case): (seconds[reader, case, reference], time)
            for (reader, case, other), time in seconds.items()
            if other == method and (reader, case, reference) in seconds
        }
        if not pairs:
            raise AnyPETError(f"nobody worked a case by both {reference!r} and {method!r}")
        for reader in [*readers, EVERYBODY] if len(readers) > 1 else readers:
            chosen = {key: value for key, value in pairs.items() if reader in (key[0], EVERYBODY)}
            if chosen:
                savings.append(_saving(reader, method, chosen, resamples, seed))
    return savings


def _saving(
    reader: str,
    method: str,
    pairs: dict[tuple[str, str], tuple[float, float]],
    resamples: int,
    seed: int,
) -> Saving:
    times = np.array(list(pairs.values()))
    share, saved = 1 - times[:, 1] / times[:, 0], times[:, 0] - times[:, 1]
    cases = list(dict.fromkeys(case for _, case in pairs))
    of_case = [np.array([n for n, (_, case) in enumerate(pairs) if case == c]) for c in cases]
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate([of_case[n] for n in rng.integers(len(cases), size=len(cases))])
        for _ in range(resamples)
    ]
    return Saving(
        reader,
        method,
        len(cases),
        float(np.median(times[:, 0])),
        float(np.median(times[:, 1])),
        _median(share, drawn),
        _median(saved, drawn),
    )


def _median(
    values: npt.NDArray[np.float64], drawn: Sequence[npt.NDArray[np.intp]]
) -> tuple[float, float, float]:
    low, high = np.quantile([np.median(values[rows]) for rows in drawn], [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)
