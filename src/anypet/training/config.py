"""Settings of a training run, read from YAML; unknown keys are errors."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pydantic
import yaml

from anypet.errors import AnyPETError
from anypet.models.compact.network import CompactConfig


class Settings(pydantic.BaseModel):
    """One training run of the compact network.

    Args:
        name: name written into the weights.
        widths, blocks, metric, window: sizes of the network (see `CompactConfig`).
        studies: simulated studies in the pool.
        real_share: share of the batch's patches that are real PET (training patients only).
        organ_share: share of simulated patches whose first target is an organ.
        targets: targets that are asked about in one window, at most.
        parts_weight: weight of the loss of the named parts of the body beside that of the masks.
        half: bfloat16 in the network while training: twice as fast, but not equal to the bit from run to run.
        batch, learning_rate, weight_decay, gradient_clip, ema: the optimiser (AdamW).
        clicks: most clicks in the loop of Algorithm 1 of the SegAnyPET paper.
        gradient_clicks: "all" as in the paper, or "last": only the last click of the loop, whose length is
            random, carries a gradient, which makes a step about twice as cheap.
        box_share: patches that start with a box in place of a click.
        previous_share: patches that start with a click and a coarse mask, as the fine pass of a session does.
        repeat_share: turns of the loop without a new click: the network refines its own mask.
        seed: of everything random.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str = "default"
    window: int = pydantic.Field(48, multiple_of=16, ge=32)
    widths: tuple[int, ...] = CompactConfig.widths
    blocks: tuple[int, ...] = CompactConfig.blocks
    metric: int = pydantic.Field(CompactConfig.metric, ge=1)
    studies: int = pydantic.Field(240, ge=1)
    real_share: float = pydantic.Field(0.15, ge=0, le=1)
    organ_share: float = pydantic.Field(0.5, ge=0, le=1)
    targets: int = pydantic.Field(2, ge=1)
    parts_weight: float = pydantic.Field(0.5, ge=0)
    half: bool = True
    batch: int = pydantic.Field(4, ge=1)
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    weight_decay: float = pydantic.Field(0.01, ge=0)
    gradient_clip: float = pydantic.Field(1.0, gt=0)
    ema: float = pydantic.Field(0.998, ge=0, lt=1)
    clicks: int = pydantic.Field(4, ge=1)
    gradient_clicks: str = pydantic.Field("last", pattern="^(all|last)$")
    box_share: float = pydantic.Field(0.08, ge=0, le=1)
    previous_share: float = pydantic.Field(0.3, ge=0, le=1)
    repeat_share: float = pydantic.Field(0.25, ge=0, le=1)
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _wide_enough(self) -> Settings:
        # oneDNN's bfloat16 weight gradient of a 3^3 convolution is not finite on grids of 2^3
        if self.half and self.window < 48:
            raise ValueError("half needs a window of at least 48; set half: false")
        return self

    @property
    def network(self) -> CompactConfig:
        return CompactConfig(self.window, self.widths, self.blocks, self.metric)


def load_settings(source: str | Path, **overrides: object) -> Settings:
    """Settings from a YAML file, or from a packaged one by its name ("compact").

    Raises:
        AnyPETError: no such file, an unknown key or a value out of range; the message names the key.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise AnyPETError(f"no settings at {path}")
        text = path.read_text()
    else:
        packaged = resources.files("anypet.training") / "configs" / f"{source}.yaml"
        if not packaged.is_file():
            known = [p.name for p in (resources.files("anypet.training") / "configs").iterdir()]
            raise AnyPETError(
                f"no settings named {source!r}; packaged: {known}, or give the path of a .yaml file"
            )
        text = packaged.read_text()
    try:
        fields = yaml.safe_load(text) or {}
        return Settings(**{**fields, **{k: v for k, v in overrides.items() if v is not None}})
    except (pydantic.ValidationError, yaml.YAMLError, TypeError) as error:
        raise AnyPETError(f"settings {source}: {error}") from error
