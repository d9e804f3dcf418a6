"""`Session`: one scan, many objects, prompts in any order, and every step can be undone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anypet.checks import Space, box_prompt, check_scan, mask_prompt, point_prompt
from anypet.errors import AnyPETError, PromptError
from anypet.objects import Patch, Prediction, SegmentedObject, label_map
from anypet.prompts import Box, Point, Prompts
from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.lesions.finder import LesionResult
    from anypet.models.base import PromptableModel
    from anypet.predict import Policy, Predictor
    from anypet.whole_body import WholeBody

BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]  # tiles done and planned
_SCRIBBLE_CLICKS = 8


class Suggestion(NamedTuple):
    """The next best click: the voxel (i, j, k), and what to click there if the mask is wrong."""

    voxel: tuple[int, int, int]
    positive: bool


class Session:
    """Interactive segmentation of one PET scan.

    The model is loaded at the first prompt that needs it. Every prompt returns the selected object's mask: a
    bool array on the scan's own grid, (i, j, k) order. `undo`, `redo` and `reset` act on the selected object,
    without limit.

    Masks of several objects are independent of each other and may overlap; `labels` has one object per voxel,
    and there the object that was made first keeps a voxel that two objects claim.

    Args:
        scan: the PET, unit "SUVbw".
        model: a name of the model registry, or a model.
        weights: a weights file for a model given by name; its own default where None.
        device: "cpu", "cuda", ...; by default "cuda" where there is one. For a model given by name.
        policy: how windows are placed; see `anypet.predict.Policy`.

    Raises:
        AnyPETError: the scan is not in SUVbw.
    """

    def __init__(
        self,
        scan: Volume,
        model: str | PromptableModel = "default",
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        *,
        policy: Policy | None = None,
    ) -> None:
        check_scan(scan)
        self.scan = scan
        self.objects: dict[str, SegmentedObject] = {}
        self._model = model
        self._weights = weights
        self._device = device
        self._policy = policy
        self._predictor: Predictor | None = None
        self._whole: WholeBody | None = None
        self._selected = ""
        self.new_object("object 1")

    # -- prompts ---------------------------------------------------------------------------------------------

    def add_point(self, point: Sequence[float], positive: bool = True, space: Space = "voxel") -> BoolArray:
        """A click on the object (`positive`) or beside it.

        The mask always holds the voxel of a positive click and never that of a negative one. A negative click
        on an object that has no positive prompt yet is kept for later; the mask stays empty.

        Args:
            point: voxel index (i, j, k), fractions allowed, or RAS millimetres.
            positive: whether the point belongs to the object.
            space: "voxel" or "mm".

        Raises:
            PromptError: not three finite numbers, or outside of the scan.
        """
        return self.prompt([point_prompt(self.scan, point, positive, space)])

    def add_scribble(
        self, points: Iterable[Sequence[float]], positive: bool = True, space: Space = "voxel"
    ) -> BoolArray:
        """A drawn line: up to 8 of its points, evenly spread over the list, become clicks of one step.

        Raises:
            PromptError: no points, or one of them is not three finite numbers or outside of the scan.
        """
        clicks = [point_prompt(self.scan, point, positive, space) for point in points]
        if not clicks:
            raise PromptError("a scribble needs at least one point, got none")
        picks = np.unique(
            np.linspace(0, len(clicks) - 1, min(len(clicks), _SCRIBBLE_CLICKS)).round().astype(int)
        )
        return self.prompt([clicks[n] for n in picks])

    def add_box(self, lo: Sequence[float], hi: Sequence[float], space: Space = "voxel") -> BoolArray:
        """A box around the object, along the scan's axes; it takes the place of an earlier box.

        Args:
            lo: one corner: the centre of a voxel (i, j, k) that still belongs to the box, or RAS millimetres.
            hi: the opposite corner.
            space: "voxel" or "mm".

        Raises:
            PromptError: a corner is not three finite numbers, the box does not meet the scan, or it is flat
                along an axis that has more than one voxel.
        """
        return self.prompt(box=box_prompt(self.scan, lo, hi, space))

    def add_mask(self, mask: npt.ArrayLike | Volume) -> BoolArray:
        """A mask that the user has already: the model refines it; it takes the place of an earlier mask.

        Args:
            mask: bool or 0/1 array on the scan's grid, or a Volume with the scan's grid.

        Raises:
            PromptError: another shape or grid, values other than 0 and 1, or no voxel set.
        """
        return self.prompt(prior=mask_prompt(self.scan, mask))

    def prompt(
        self, points: Sequence[Point] = (), box: Box | None = None, prior: Patch | None = None
    ) -> BoolArray:
        """Several prompts as one step, in the library's own types (RAS mm); on an error nothing has changed.

        Args:
            points: further clicks.
            box: takes the place of an earlier one.
            prior: the user's own mask; takes the place of an earlier one.
        """
        before = self.selected.current
        boxes = before.prompts.boxes if box is None else (box,)
        prompts = Prompts((*before.prompts.points, *points), boxes)
        prior = before.prior if prior is None else prior
        if not boxes and prior is None and not any(p.positive for p in prompts.points):
            self.selected.push(Prediction(prompts))  # negative clicks alone: no model is needed for nothing
        else:
            self.selected.push(self.predictor.predict(prompts, prior, before))
        return self.mask

    # -- the whole scan --------------------------------------------------------------------------------------

    def find_lesions(
        self,
        ct: Volume | None = None,
        *,
        time_limit_s: float = 900.0,
        mirror: int = 3,
        progress: Progress | None = None,
        **how: Any,
    ) -> LesionResult:
        """Finds every lesion of the scan; each becomes an object, "lesion 1" being the largest.

        Args:
            ct: of the same patient, HU.
            time_limit_s, mirror, progress: see `anypet.lesions.pipeline.find_lesions`.
            how: `tracer`, `rule`, `nets`, ... as there.
        """
        from anypet.whole_body import WholeBody

        self._whole = WholeBody(self, ct, **how)
        result = self._whole.look(time_limit_s, mirror, progress)
        self._whole.lesions()
        return result

    def click_lesion(
        self, point: Sequence[float], positive: bool = True, space: Space = "voxel"
    ) -> LesionResult:
        """After `find_lesions`: adds the lesion at a point, or rejects what is there; objects follow.

        Only the point's surroundings are looked at again.

        Raises:
            AnyPETError: the scan's lesions have not been looked for.
            PromptError: not three finite numbers, or outside of the scan.
        """
        if self._whole is None or self._whole.result is None:
            raise AnyPETError("find_lesions() comes first; then clicks add and reject lesions")
        voxel = np.round(self.scan.to_voxel(point_prompt(self.scan, point, positive, space).mm))
        i, j, k = (int(v) for v in np.clip(voxel, 0, np.array(self.scan.shape) - 1))
        return self._whole.click((i, j, k), positive)

    def add_text(
        self, text: str, ct: Volume | None = None, *, progress: Progress | None = None, **how: Any
    ) -> dict[str, BoolArray]:
        """Segments what words name: "left kidney", "liver and spleen", "all lesions" -> name and mask.

        Each becomes an object of that name and can be corrected by clicks. The scan is looked at as a whole
        at the first text; `ct`, `progress` and `how` are as for `find_lesions`.

        Raises:
            PromptError: a word is not known (the message lists those that are), or not in the scan.
        """
        from anypet.text import understand
        from anypet.whole_body import WholeBody, add_text

        if self._whole is None:
            self._whole = WholeBody(self, ct, **how)
        understand(text, self._whole.finder.config.organs)
        self._whole.look(900.0, progress=progress)
        return add_text(self, self._whole, text)

    # -- history ---------------------------------------------------------------------------------------------

    def undo(self) -> BoolArray:
        """Takes the selected object's last step back -> its mask; at the first step nothing happens."""
        self.selected.cursor = max(0, self.selected.cursor - 1)
        return self.mask

    def redo(self) -> BoolArray:
        """Repeats the step that was taken back -> the mask; without one nothing happens."""
        self.selected.cursor = min(len(self.selected.steps) - 1, self.selected.cursor + 1)
        return self.mask

    def reset(self) -> BoolArray:
        """Clears the selected object's prompts and mask; this is a step, so `undo` brings them back."""
        self.selected.push(Prediction())
        return self.mask

    # -- results ---------------------------------------------------------------------------------------------

    @property
    def mask(self) -> BoolArray:
        """The selected object: bool array on the scan's grid."""
        return self.selected.mask

    @property
    def probability(self) -> npt.NDArray[np.float32]:
        """The model's probability of the selected object: float32 array on the scan's grid."""
        return self.selected.probability

    @property
    def uncertainty(self) -> npt.NDArray[np.float32]:
        """Where the prompts disagree: predictive entropy, nats (0..0.693), float32 on the scan's grid.

        U = -sum p log p over object and background, p being the mean over the probabilities that each step of
        prompts gave since the last reset: equation (4) of SegAnyPET (arXiv 2502.14351), with the user's own
        prompts in place of random ones.
        """
        return self.selected.entropy.on_grid(self.scan.shape)

    def suggest_point(self) -> Suggestion | None:
        """The click that would tell most: the deepest voxel of the most uncertain region near the border.

        `positive` is the click to make if the mask is wrong there: positive on a voxel that is not in the
        mask, negative on one that is. None without a mask, or where nothing is uncertain.
        """
        from anypet.suggest import most_uncertain

        current = self.selected.current
        clicked = [self.scan.to_voxel(p.mm) for p in current.prompts.points]
        voxel = most_uncertain(self.selected.entropy, current.mask, self.scan, clicked)
        if voxel is None:
            return None
        local = np.array(voxel) - current.mask.start
        inside = bool(np.all(local >= 0) and np.all(local < current.mask.values.shape))
        return Suggestion(voxel, not (inside and bool(current.mask.values[tuple(local)])))

    @property
    def labels(self) -> Volume:
        """All objects as one label volume: 1, 2, ... in the order in which they were made; 0 is background.

        A voxel that two objects claim stays with the one that was made first. `meta["names"]` maps value to
        name.
        """
        return label_map(self.scan, list(self.objects.values()))

    # -- objects ---------------------------------------------------------------------------------------------

    @property
    def selected(self) -> SegmentedObject:
        """The object that prompts go to."""
        return self.objects[self._selected]

    def new_object(self, name: str | None = None) -> SegmentedObject:
        """Begins another object and selects it.

        A session starts with "object 1"; naming it is done by `new_object` too: while the only object is
        unused, it is replaced.

        Raises:
            AnyPETError: the name is taken or empty.
        """
        unused = list(self.objects) == ["object 1"] and len(self.objects["object 1"].steps) == 1
        if name is None:
            number = len(self.objects) + 1
            while f"object {number}" in self.objects:
                number += 1
            name = f"object {number}"
            unused = False
        if not name or (name in self.objects and not unused):
            raise AnyPETError(f"an object needs a new name; {name!r} is {'taken' if name else 'empty'}")
        if unused:
            self.objects.clear()
        self.objects[name] = SegmentedObject(name, self.scan)
        self._selected = name
        return self.objects[name]

    def select(self, name: str) -> SegmentedObject:
        """Prompts go to this object from now on.

        Raises:
            AnyPETError: there is no such object.
        """
        self._selected = self._known(name)
        return self.objects[name]

    def _known(self, name: str) -> str:
        if name not in self.objects:
            raise AnyPETError(f"there is no object {name!r}; there are {', '.join(map(repr, self.objects))}")
        return name

    def rename(self, name: str, new: str) -> None:
        """Gives an object another name; its place in the order stays.

        Raises:
            AnyPETError: there is no such object, or the new name is taken or empty.
        """
        self._known(name)
        if not new or (new in self.objects and new != name):
            raise AnyPETError(f"an object needs a new name; {new!r} is {'taken' if new else 'empty'}")
        self.objects[name].name = new
        self.objects = {item.name: item for item in self.objects.values()}
        self._selected = new if self._selected == name else self._selected
        if self._whole is not None:
            self._whole.renamed(name, new)

    def remove(self, name: str) -> None:
        """Deletes an object with its history; selects the last one left, or makes a new one."""
        self.select(name)
        del self.objects[name]
        if self.objects:
            self._selected = next(reversed(self.objects))
        else:
            self.new_object()

    # -- model -----------------------------------------------------------------------------------------------

    @property
    def predictor(self) -> Predictor:
        """The scan and the model together; the model is loaded at first use."""
        if self._predictor is None:
            from anypet.predict import Predictor

            if isinstance(self._model, str):
                import torch

                from anypet.models.registry import load_model

                device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
                weights = None if self._weights is None else Path(self._weights)
                model = load_model(self._model, weights=weights, device=device)
            else:
                model = self._model
            self._predictor = Predictor(self.scan, model, self._policy)
        return self._predictor

    @property
    def nbytes(self) -> int:
        """Memory beside the scan and the history: embeddings, and the maps of the whole-body networks."""
        embeddings = 0 if self._predictor is None else self._predictor.cache.nbytes
        return embeddings + (0 if self._whole is None else self._whole.nbytes)

    @property
    def model_name(self) -> str:
        """The registry name of the model."""
        return self._model if isinstance(self._model, str) else self._model.spec.name

    # -- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, include_scan: bool = True) -> Path:
        """Writes everything to one file: objects, prompts, the whole history and, by default, the scan.

        The file (a zip of JSON and arrays, nothing executable) appears under its name only when it is
        complete.

        Args:
            path: by custom `*.anypet`.
            include_scan: whether the file opens without the scan.

        Raises:
            AnyPETError: there is no such folder, or the file cannot be written there.
        """
        from anypet.archive import save

        return save(self, Path(path), include_scan=include_scan)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        scan: Volume | None = None,
        model: str | PromptableModel | None = None,
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        **options: Any,
    ) -> Session:
        """Opens a saved session where it was left, its history included.

        Args:
            path: the file.
            scan: the scan; needed if the file was saved without it, and checked against it in any case.
            model: by default the model that the session was saved with.
            weights: as for `Session`.
            device: as for `Session`.
            options: as for `Session`.

        Raises:
            ReadError: the file is missing, damaged, or of another kind or version.
            AnyPETError: the scan is missing, or is not the one that the session was made on.
        """
        from anypet.archive import load

        saved = load(Path(path), scan)
        session = cls(saved.scan, model or saved.model, weights, device, **options)
        session.restore(saved.objects, saved.selected)
        return session

    def restore(self, objects: Mapping[str, SegmentedObject], selected: str) -> None:
        """Puts other objects of the same scan in the place of all, their histories included."""
        self.objects = dict(objects)
        self._selected = self._known(selected)
