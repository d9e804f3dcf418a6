"""Simulated PET/CT: anatomy -> activity -> lesions -> scanner."""

from anypet.simulate.anatomy import Anatomy, analytic_anatomy, anatomy_split, load_anatomy
from anypet.simulate.study import Study, simulate, simulate_case

__all__ = [
    "Anatomy",
    "Study",
    "analytic_anatomy",
    "anatomy_split",
    "load_anatomy",
    "simulate",
    "simulate_case",
]
