"""A made-up cohort whose network is known: modules of organs that rise and fall together.

The logarithm of an organ's SUV is its usual level plus one factor that the whole body shares, one that its
module shares, one of its own, and the effects of age, sex and weight. The modules stand for no physiology;
the levels are of the order of FDG's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# module -> organ -> usual SUVmean
MODULES: dict[str, dict[str, float]] = {
    "head and neck": {
        "brain": 7.0,
        "cerebellum": 6.0,
        "spinal cord": 1.6,
        "thyroid": 1.3,
        "left salivary gland": 1.8,
        "right salivary gland": 1.8,
    },
    "thorax": {
        "heart": 2.8,
        "aorta": 1.6,
        "left lung": 0.5,
        "right lung": 0.5,
        "oesophagus": 1.6,
        "thymus": 1.1,
    },
    "abdomen": {
        "liver": 2.2,
        "spleen": 1.8,
        "pancreas": 1.5,
        "stomach": 1.9,
        "bowel": 1.6,
        "gallbladder": 1.1,
    },
    "kidneys and frame": {
        "left kidney": 2.6,
        "right kidney": 2.6,
        "urinary bladder": 12.0,
        "muscle": 0.7,
        "marrow": 1.3,
        "fat": 0.3,
    },
}


@dataclass(frozen=True)
class SimulatedCohort:
    """A table and the truth behind it.

    Args:
        table: rows of column -> cell, as `cohort.parse_cohort` takes them.
        modules: organ -> its module.
    """

    table: Sequence[Mapping[str, str]]
    modules: Mapping[str, str]


def simulate_cohort(
    rng: np.random.Generator,
    groups: Mapping[str, int] | None = None,
    *,
    modules: Mapping[str, Mapping[str, float]] = MODULES,
    within: float = 0.55,
    between: float = 0.2,
    covariate_effect: float = 1.0,
    broken: Mapping[str, str] | None = None,
    spread: float = 0.2,
) -> SimulatedCohort:
    """Draws a cohort.

    Args:
        rng: source of all draws.
        groups: name -> number of subjects; 200 controls by default.
        modules: module -> organ -> usual SUV.
        within, between: usual correlation of organs of one module and of two, once the covariates are taken
            away; organs hang on their module to different degrees.
        covariate_effect: how much a standard deviation of age, sex and weight moves log SUV, against its own
            spread; age and weight move all organs in one direction, and so feign a network.
        broken: group -> a module that is none there: its organs correlate as if of different modules.
        spread: standard deviation of log SUV without the covariates.
    """
    groups = groups or {"control": 200}
    organs = [organ for module in modules.values() for organ in module]
    membership = {organ: name for name, module in modules.items() for organ in module}
    usual = np.log([level for module in modules.values() for level in module.values()])
    module_of = np.array([list(modules).index(membership[organ]) for organ in organs])
    hold = (within - between) * rng.uniform(0.6, 1.4, len(organs))  # share of the variance from the module
    effects = covariate_effect * spread * rng.uniform([0.2, -0.3, 0.2], [0.6, 0.3, 0.6], (len(organs), 3))
    table = []
    for group, size in groups.items():
        age, woman = rng.uniform(25, 80, size), rng.random(size) < 0.5
        weight = np.maximum(40.0, rng.normal(np.where(woman, 68, 82), 12))
        covariates = np.column_stack([(age - 52) / 16, woman - 0.5, (weight - 75) / 14])
        held = hold.copy()
        if broken and group in broken:
            held[module_of == list(modules).index(broken[group])] = 0.0
        shared = np.sqrt(between) * rng.normal(size=(size, 1))
        shared = shared + np.sqrt(held) * rng.normal(size=(size, len(modules)))[:, module_of]
        own = np.sqrt(1 - between - held) * rng.normal(size=(size, len(organs)))
        uptake = np.exp(usual + spread * (shared + own) + covariates @ effects.T)
        for n in range(size):
            table.append(
                {
                    "subject": f"{group}-{n + 1:03d}",
                    "group": group,
                    "age": f"{age[n]:.0f}",
                    "sex": "F" if woman[n] else "M",
                    "weight": f"{weight[n]:.1f}",
                    **{organ: f"{value:.4f}" for organ, value in zip(organs, uptake[n], strict=True)},
                }
            )
    return SimulatedCohort(table, membership)
