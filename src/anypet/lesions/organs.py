"""Organs of a scan by name, as the organ head sees them: for reference regions that nobody has drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.lesions.finder import LesionResult


class Organs:
    """Looks at a scan when an organ is first asked for, and once only.

    Args:
        pet: SUVbw.
        ct: HU on any grid, or None.
        how: further arguments of `anypet.lesions.pipeline.prepare`, such as `nets` or `device`.
    """

    def __init__(self, pet: Volume, ct: Volume | None = None, **how: Any) -> None:
        self.pet, self.ct, self.how = pet, ct, how
        self._result: LesionResult | None = None

    def __call__(self, name: str) -> npt.NDArray[np.bool_]:
        """(I, J, K) bool.

        Raises:
            AnyPETError: the PET is not in SUVbw.
            PromptError: the organ is not known, or not in the scan.
        """
        if self._result is None:  # the networks are imported only where somebody asks
            from anypet.lesions.click_files import LesionClicks
            from anypet.lesions.depth import LIMIT_S, Depth
            from anypet.lesions.pipeline import prepare

            finder = prepare(self.pet, self.ct, organs=True, **self.how)
            self._result = finder.sweep(LesionClicks(), Depth(LIMIT_S, 0))
        return self._result.organ(name)
