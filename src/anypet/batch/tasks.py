"""What is done to each scan of a batch: read it, compute, write files. Nothing here knows of workers.

A task is a small frozen dataclass that travels to the workers; its fields are its settings. `load` is called
once a worker, `compute` one scan at a time, `read` and `write` beside it in other threads.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from anypet.batch.cases import BatchCase
from anypet.batch.prompt_files import read_prompts
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.io import Study
    from anypet.lesions.finder import LesionResult
    from anypet.lesions.network import TwoHeadedUNet
    from anypet.lesions.pipeline import Tracer
    from anypet.models.base import PromptableModel
    from anypet.quantify.table import MeasureTable
    from anypet.session import Session

KINDS = ("lesions", "text", "prompts")
_HOURS = 24 * 3600.0


@dataclass(frozen=True)
class Done:
    """What a scan came to.

    Args:
        measures: mtv_ml, tlg, suv_max, objects, and lesions where lesions were looked for.
        tracer: that was reckoned with, "" where it plays no part.
    """

    measures: dict[str, float | int | None] = field(default_factory=dict)
    tracer: str = ""


class Task(Protocol):
    """What the workers need of a task."""

    @property
    def model(self) -> str:
        """Names of the networks with the SHA-256 of their weights."""

    def settings(self) -> dict[str, Any]:
        """All that the results depend on, as JSON; a batch is only resumed with the same."""

    def load(self, device: str) -> Any:
        """The networks, once a worker."""

    def read(self, case: BatchCase) -> Any:
        """The scan."""

    def compute(self, networks: Any, scan: Any, case: BatchCase) -> Any:
        """The heavy part; never two at a time in one worker."""

    def write(self, found: Any, scan: Any, case: BatchCase, folder: Path) -> Done:
        """Files into a folder that is there and empty."""


class _ScanTask(ABC):
    """What all tasks have in common."""

    kind = ""

    @property
    @abstractmethod
    def model(self) -> str:
        """The networks' name."""

    def settings(self) -> dict[str, Any]:
        return {"task": self.kind, "model": self.model, **asdict(self)}  # type: ignore[call-overload]

    def read(self, case: BatchCase) -> Study:
        from anypet.io import read_study

        return read_study(case.image, ct=case.ct, unit=case.unit)


@dataclass(frozen=True)
class LesionsTask(_ScanTask):
    """Every lesion of each scan, as `anypet lesions` finds them.

    A row's `prompts`, tumour and background clicks, are used where there are any.

    Args:
        tracer: "fdg" or "psma" for all, or "auto": what the list says, and where it says neither, what the
            discriminator says.
        organs: find organs too.
        mirror: mirrored axes, 0 to 3; a batch has no time limit, so that a scan's result does not depend on
            what else the machine did.
        min_ml: lesions smaller than this go if their SUVmax is below 4.
        weights: files in place of the packaged network; several are averaged.
        picture: draw picture.png.
    """

    tracer: str = "auto"
    organs: bool = True
    mirror: int = 0
    min_ml: float = 0.3
    weights: tuple[str, ...] = ()
    picture: bool = True
    kind = "lesions"

    @property
    def model(self) -> str:
        return ", ".join(fingerprint("lesions", file) for file in self.weights or (None,))

    def load(self, device: str) -> list[TwoHeadedUNet]:
        from anypet.lesions.pipeline import load_nets

        return load_nets(self.weights, device)

    def compute(self, networks: list[TwoHeadedUNet], scan: Study, case: BatchCase) -> LesionResult:
        from anypet.lesions.clean_up import SmallRule
        from anypet.lesions.click_files import LesionClicks, read_clicks
        from anypet.lesions.pipeline import find_lesions

        listed = case.tracer.lower()
        tracer = listed if self.tracer == "auto" and listed in ("fdg", "psma") else self.tracer
        return find_lesions(
            scan.pet, scan.ct, read_clicks(case.prompts) if case.prompts else LesionClicks(),
            tracer=cast("Tracer", tracer), organs=self.organs, mirror=self.mirror, time_limit_s=_HOURS,
            rule=SmallRule(self.min_ml), nets=networks,
        )  # fmt: skip

    def write(self, found: LesionResult, scan: Study, case: BatchCase, folder: Path) -> Done:
        from anypet.lesions.files import write_lesions

        written = write_lesions(folder, scan.pet, found, title=case.name, picture=self.picture)
        measures = {**totals(written.table), "lesions": int(found.instances.max())}
        return Done(measures, "/".join(found.used))


class _SessionTask(_ScanTask):
    """Tasks whose results are the objects of a session: labels.nii.gz and measures.csv."""

    def write(self, found: Session, scan: Study, case: BatchCase, folder: Path) -> Done:
        from anypet.io import write
        from anypet.objects import label_map
        from anypet.quantify.measures import measure

        items = [item for item in found.objects.values() if len(item.steps) > 1]  # none: no lesion was found
        write(label_map(scan.pet, items), folder / "labels.nii.gz")
        table = measure(scan.pet, {item.name: item.mask for item in items})
        table.write(folder / "measures.csv")
        return Done(totals(table))


@dataclass(frozen=True)
class TextTask(_SessionTask):
    """What words name in each scan, as `anypet segment --text` finds it.

    Args:
        text: "left kidney", "liver and spleen", "all lesions", ...
        promptable: the model that borders are drawn with, see `anypet models`.
        weights: a file in place of that model's own.
    """

    text: str
    promptable: str = "default"
    weights: str | None = None
    kind = "text"

    @property
    def model(self) -> str:
        return ", ".join([fingerprint(self.promptable, self.weights), fingerprint("lesions")])

    def load(self, device: str) -> tuple[PromptableModel, list[TwoHeadedUNet]]:
        from anypet.lesions.pipeline import load_nets
        from anypet.models.registry import load_model
        from anypet.text import understand

        nets = load_nets((), device)
        understand(self.text, nets[0].config.organs)  # an unknown word is no fault of any scan
        return load_model(self.promptable, weights=self.weights, device=device), nets

    def compute(
        self, networks: tuple[PromptableModel, list[TwoHeadedUNet]], scan: Study, case: BatchCase
    ) -> Session:
        from anypet.session import Session

        session = Session(scan.pet, networks[0])
        tracer = case.tracer.lower() if case.tracer.lower() in ("fdg", "psma") else "auto"
        session.add_text(self.text, scan.ct, nets=networks[1], tracer=tracer)
        return session


@dataclass(frozen=True)
class PromptsTask(_SessionTask):
    """The objects that each row's `prompts` file clicks on (`anypet.batch.prompt_files`).

    Args:
        promptable: the model, see `anypet models`.
        weights: a file in place of that model's own.
    """

    promptable: str = "default"
    weights: str | None = None
    kind = "prompts"

    @property
    def model(self) -> str:
        return fingerprint(self.promptable, self.weights)

    def load(self, device: str) -> PromptableModel:
        from anypet.models.registry import load_model

        return load_model(self.promptable, weights=self.weights, device=device)

    def compute(self, networks: PromptableModel, scan: Study, case: BatchCase) -> Session:
        from anypet.session import Session

        if case.prompts is None:
            raise AnyPETError("the row has no field 'prompts'; give the JSON of its clicks")
        session = Session(scan.pet, networks)
        read_prompts(case.prompts).give(session)
        return session


def totals(table: MeasureTable) -> dict[str, float | int | None]:
    """The measures of an index: of all objects of a scan together, and how many there are."""
    total = table.total
    return {
        "mtv_ml": total.mtv_ml, "tlg": total.tlg, "suv_max": total.suv_max, "objects": len(table.rows),
    }  # fmt: skip


def fingerprint(name: str, weights: str | None = None) -> str:
    """A model's name, the file of its weights if another was given, and the SHA-256 of the file.

    Raises:
        WeightsError: the model is unknown.
        AnyPETError: its weights are not there.
    """
    from anypet.models.registry import entry
    from anypet.models.weights import sha256

    file = Path(weights) if weights is not None else entry(name).file
    if file is None or not os.path.isfile(file):
        raise AnyPETError(
            f"the weights of {name} are not there{f': {file}' if file else ''}; see `anypet models`"
        )
    return f"{name if weights is None else file.name} sha256:{sha256(file)[:16]}"


def task_of(kind: Literal["lesions", "text", "prompts"] | str, **settings: Any) -> Task:
    """The task of a kind.

    Raises:
        AnyPETError: there is no such kind.
    """
    made = {"lesions": LesionsTask, "text": TextTask, "prompts": PromptsTask}
    if kind not in made:
        raise AnyPETError(f"the task is one of {', '.join(KINDS)}, got {kind!r}")
    return cast("Task", made[kind](**settings))
