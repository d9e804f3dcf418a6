"""Settings of a training run, read from YAML that may build on other YAML; unknown keys are errors."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from anypet.errors import AnyPETError
from anypet.lesions.config import CONFIGS, NetConfig
from anypet.models.compact.network import CompactConfig
from anypet.training.cpcl import CPCL


class RunSettings(pydantic.BaseModel):
    """What every training run is told.

    Args:
        family: which network is trained.
        name: name written into the weights.
        studies: simulated studies in the pool.
        batch: windows of a micro-batch, over all processes; accumulate: micro-batches of one optimiser step.
        half: bfloat16 in the network while training, where the processor has it: twice as fast, but not equal
            to the bit from run to run.
        optimiser: "adamw", or "sgd" with Nesterov's momentum of 0.99 as nnU-Net trains.
        learning_rate, weight_decay, gradient_clip, ema: of the optimiser; ema 0 exports the last weights.
        schedule: "cosine" over the budget after 100 steps of warm-up at most; "poly": nnU-Net's
            (1 - share)^0.9; or "steps": the rate is multiplied by `gamma` at each of `milestones`, in epochs
            of `epochs`, which the budget stands for.
        validate_every: steps between looks at the validation windows (0: never); the best weights are kept.
        patience: looks without a better one after which a run ends early (0: never).
        seed: of everything random.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    family: str
    name: str = "default"
    studies: int = pydantic.Field(240, ge=1)
    batch: int = pydantic.Field(4, ge=1)
    accumulate: int = pydantic.Field(1, ge=1)
    half: bool = True
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    weight_decay: float = pydantic.Field(0.01, ge=0)
    gradient_clip: float = pydantic.Field(1.0, gt=0)
    ema: float = pydantic.Field(0.998, ge=0, lt=1)
    schedule: Literal["cosine", "poly", "steps"] = "cosine"
    epochs: int = pydantic.Field(200, ge=1)
    milestones: tuple[int, ...] = (120, 180)
    gamma: float = pydantic.Field(0.1, gt=0, le=1)
    validate_every: int = pydantic.Field(0, ge=0)
    patience: int = pydantic.Field(0, ge=0)
    seed: int = pydantic.Field(0, ge=0)


class ScanSettings(RunSettings):
    """A run on simulated whole-body scans; of the tracer discriminator if nothing else is said.

    Args:
        tracers: of the scans, drawn alike often, whatever the anatomy's patient was given.
        empty_share: share of the scans without any lesion.
    """

    family: Literal["tracer", "lesions"] = "tracer"
    name: str = "tracer"
    tracers: tuple[Literal["FDG", "PSMA", "random"], ...] = ("FDG", "PSMA")
    empty_share: float = pydantic.Field(0.2, ge=0, lt=1)


class LesionSettings(ScanSettings):
    """One training run of the two-headed lesion network.

    Args:
        tracers: of the simulated scans, drawn alike often; "random" is a made-up one, which the network is
            never told, so that it does not stand on what two tracers show.
        preset: sizes, one of `anypet.lesions.config.CONFIGS`.
        patch: voxels along a side of what is cut from a scan; 0 takes the preset's.
        lesion_share: share of the patches cut around a lesion.
        organ_share: of the other patches, share cut around an organ, each organ as often as the next (so the
            small ones are seen); 0.4 are cut around hot spots and the rest lies anywhere in the body.
        ct_share: share of the patches that come with their CT.
        tracer_share: share of the patches that are told their tracer.
        clicks: most clicks of each kind on a scan; each patch draws how many between 0 and this.
        silent_share: share of the patches of scans without any click: of 0 to 10 of either kind drawn alike
            often only one in 121 would be.
        click_map: "gaussian", the paper's, or "distance".
        sigma_mm: of the Gaussians of tumour and of background clicks, or the range of the distances.
        organ_weight: of the organ head's loss beside the lesion head's.
        misalign_share: share of the patches whose CT is turned and shifted against the PET.
        end_share: share of the patches in which the field of view ends.
        real_share: share of the patches that come from one's own cases, where a list of them is given.
    """

    family: Literal["lesions"] = "lesions"
    name: str = "lesions"
    tracers: tuple[Literal["FDG", "PSMA", "random"], ...] = ("FDG", "FDG", "PSMA", "PSMA", "random")
    preset: Literal["compact", "large"] = "compact"
    patch: int = pydantic.Field(0, ge=0)
    lesion_share: float = pydantic.Field(0.5, ge=0, le=1)
    organ_share: float = pydantic.Field(0.4, ge=0, le=0.6)
    ct_share: float = pydantic.Field(0.5, ge=0, le=1)
    tracer_share: float = pydantic.Field(0.8, ge=0, le=1)
    clicks: int = pydantic.Field(10, ge=0)
    silent_share: float = pydantic.Field(0.4, ge=0, le=1)
    click_map: Literal["gaussian", "distance"] = "gaussian"
    sigma_mm: tuple[float, float] = (8.0, 12.0)
    organ_weight: float = pydantic.Field(1.0, ge=0)
    misalign_share: float = pydantic.Field(0.2, ge=0, le=1)
    end_share: float = pydantic.Field(0.12, ge=0, le=1)
    real_share: float = pydantic.Field(1.0, ge=0, le=1)

    @property
    def network(self) -> NetConfig:
        return CONFIGS[self.preset]

    @property
    def side(self) -> int:
        """Voxels along a side of a patch."""
        return self.patch or self.network.patch


class Settings(RunSettings):
    """One training run of a promptable network.

    Args:
        family: "compact" or "segany", the network to train.
        widths, blocks, window: sizes of the compact network (see `CompactConfig`).
        real_share: share of the patches that are real PET (training patients only).
        organ_share: share of simulated patches whose first target is an organ.
        targets: targets that are asked about in one window, at most.
        clicks: most prompts in the loop of Algorithm 1 of the SegAnyPET paper.
        once_share: passes of the loop with one prompt only; the others have 1 to `clicks`.
        gradient_clicks: "all" as in the paper, or "last": only the last click of the loop, whose length is
            random, carries a gradient, which makes a step about twice as cheap.
        answers: ways to place the next click, one drawn for each: "deepest", "random", "ritm", "perturbed"
            (see `anypet.simulated_prompts`); name one twice to draw it twice as often.
        click_policy: clicks that the network is given at each turn: all so far, or the latest.
        box_share: targets that start with a box in place of a click.
        previous_share: targets that start with a click and a coarse mask, as the fine pass of a session does.
        repeat_share: turns of the loop without a new click: the network refines its own mask.
        parts_weight: weight of the loss of the named parts of the body beside that of the masks.
        strategy: what low-quality labels teach: "mixed" (as if they were good), "consistency" (equation (3)
            alone) or "cpcl" (equation (6)).
        omega, beta, ramp, threshold, direction, consistency: see `CPCL`.
        low_share: share of the pool's studies, its last ones, whose labels are degraded; degrade_strength:
            how badly.
        left_out: names of organs that are never a target.
    """

    family: Literal["compact", "segany"] = "compact"
    window: int = pydantic.Field(48, multiple_of=16, ge=32)
    widths: tuple[int, ...] = CompactConfig.widths
    blocks: tuple[int, ...] = CompactConfig.blocks
    real_share: float = pydantic.Field(0.15, ge=0, le=1)
    organ_share: float = pydantic.Field(0.5, ge=0, le=1)
    targets: int = pydantic.Field(2, ge=1)
    clicks: int = pydantic.Field(4, ge=1)
    once_share: float = pydantic.Field(0.4, ge=0, le=1)
    gradient_clicks: Literal["all", "last"] = "last"
    answers: tuple[Literal["deepest", "random", "ritm", "perturbed"], ...] = pydantic.Field(
        ("deepest", "deepest", "deepest", "random"), min_length=1
    )
    click_policy: Literal["all", "latest"] = "all"
    box_share: float = pydantic.Field(0.08, ge=0, le=1)
    previous_share: float = pydantic.Field(0.3, ge=0, le=1)
    repeat_share: float = pydantic.Field(0.05, ge=0, le=1)
    parts_weight: float = pydantic.Field(0.5, ge=0)
    strategy: Literal["mixed", "consistency", "cpcl"] = "mixed"
    omega: float = pydantic.Field(CPCL.omega, ge=0)
    beta: float = pydantic.Field(CPCL.beta, ge=0)
    ramp: Literal["exponential", "gaussian"] = CPCL.ramp
    threshold: float = pydantic.Field(CPCL.threshold, ge=0, le=1)
    direction: Literal["both", "towards"] = CPCL.direction
    consistency: Literal["mean", "sum"] = CPCL.consistency
    low_share: float = pydantic.Field(0.0, ge=0, le=1)
    degrade_strength: float = pydantic.Field(0.5, gt=0, le=1)
    left_out: tuple[str, ...] = ()

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Settings:
        # oneDNN's bfloat16 weight gradient of a 3^3 convolution is not finite on grids of 2^3
        if self.family == "compact" and self.half and self.window < 48:
            raise ValueError("half needs a window of at least 48; set half: false")
        if self.family == "segany" and self.window != 128:
            raise ValueError("window must be 128 for the family segany: its positions are fixed")
        if self.strategy != "mixed" and self.gradient_clicks != "all":
            raise ValueError(f"strategy {self.strategy} compares all prompts of a loop: gradient_clicks: all")
        if self.strategy != "mixed" and self.once_share > 0:
            raise ValueError(f"strategy {self.strategy} needs several prompts in a loop: once_share: 0")
        return self

    @property
    def network(self) -> CompactConfig:
        return CompactConfig(self.window, self.widths, self.blocks)

    @property
    def cpcl(self) -> CPCL | None:
        """The constants of the strategy; None where all labels teach alike."""
        if self.strategy == "mixed":
            return None
        beta = self.beta if self.strategy == "cpcl" else 0.0
        return CPCL(self.omega, beta, self.ramp, self.threshold, self.direction, self.consistency)


def load_settings(source: str | Path, **overrides: object) -> Settings:
    """Settings of a promptable network, see `load_any`.

    Raises:
        AnyPETError: as `load_any`, or they are of a lesion network.
    """
    found = load_any(source, **overrides)
    if not isinstance(found, Settings):
        raise AnyPETError(f"settings {source} are of family {found.family}, not of a promptable network")
    return found


def load_any(source: str | Path, **overrides: object) -> Settings | ScanSettings:
    """Settings from a YAML file, or from a packaged one by its name ("compact").

    A file may name another under `inherits` (a packaged name, or a path from where it lies); its own keys
    win.

    Raises:
        AnyPETError: no such file, an unknown key or a value out of range; the message names the key.
    """
    try:
        fields = _fields(source, ())
        fields |= {k: v for k, v in overrides.items() if v is not None}
        kinds = {"lesions": LesionSettings, "tracer": ScanSettings}
        return kinds.get(str(fields.get("family")), Settings)(**fields)
    except (pydantic.ValidationError, yaml.YAMLError, TypeError, ValueError) as error:
        raise AnyPETError(f"settings {source}: {error}") from error


def _fields(source: str | Path, heirs: tuple[str, ...]) -> dict[str, Any]:
    """Keys of a file and of those that it builds on."""
    if str(source) in heirs:
        raise AnyPETError(f"settings inherit in a circle: {' -> '.join((*heirs, str(source)))}")
    fields = yaml.safe_load(_text(source)) or {}
    if not isinstance(fields, dict):
        raise ValueError(f"expected keys and values, got a {type(fields).__name__}")
    parent = fields.pop("inherits", None)
    if parent is None:
        return fields
    path = Path(str(parent))
    if path.suffix and not path.is_absolute():
        path = Path(source).parent / path
    return {**_fields(path if path.suffix else str(parent), (*heirs, str(source))), **fields}


def _text(source: str | Path) -> str:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise AnyPETError(f"no settings at {path}")
        return path.read_text()
    folder = resources.files("anypet.training") / "configs"
    packaged = folder / f"{source}.yaml"
    if not packaged.is_file():
        known = sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())
        raise AnyPETError(
            f"no settings named {source!r}; packaged: {known}, or give the path of a .yaml file"
        )
    return packaged.read_text()
