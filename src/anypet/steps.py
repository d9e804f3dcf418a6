"""Steps of an object as JSON, their arrays elsewhere: shared by session files and the server's journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anypet.objects import Group, Patch, Prediction, Tile, Triple
from anypet.prompts import Box, Point, Prompts

Cell = tuple[int, int, int]
Put = Callable[[Patch | Tile], Any]


def encode_step(step: Prediction, put: Put) -> dict[str, Any]:
    """A step as JSON.

    Args:
        step: what is written.
        put: stores the array of a patch (`values`) or tile (`logits`) and returns where it is, for JSON.
    """

    def patch(one: Patch | None) -> dict[str, Any] | None:
        return None if one is None else {"start": list(one.start), "values": put(one)}

    return {
        "points": [{"mm": list(p.mm), "positive": p.positive} for p in step.prompts.points],
        "boxes": [{"lo_mm": list(b.lo_mm), "hi_mm": list(b.hi_mm)} for b in step.prompts.boxes],
        "prior": patch(step.prior),
        "mask": patch(step.mask),
        "probability": patch(step.probability),
        "groups": [
            {
                "centre_mm": list(group.centre_mm),
                "spacing": group.spacing,
                "anchor_suv": group.anchor_suv,
                "anchor_mm": list(group.anchor_mm),
                "tiles": [
                    {
                        "cell": list(tile.cell),
                        "logits": put(tile),
                        "seed_mm": None if tile.seed_mm is None else list(tile.seed_mm),
                    }
                    for tile in group.tiles
                ],
            }
            for group in step.groups
        ],
    }


def decode_step(
    data: Mapping[str, Any],
    patch: Callable[[Cell, Any], Patch],
    tile: Callable[[Cell, Any, Triple | None], Tile],
) -> Prediction:
    """A step from its JSON.

    Args:
        data: what `encode_step` gave.
        patch: makes a patch of its start and of where its values are.
        tile: makes a tile of its cell, of where its logits are, and of its seed (RAS mm).

    Raises:
        KeyError, TypeError, ValueError: the JSON is not that of a step.
    """

    def some(one: Mapping[str, Any]) -> Patch:
        return patch(_cell(one["start"]), one["values"])

    def group(one: Mapping[str, Any]) -> Group:
        tiles = tuple(tile(_cell(t["cell"]), t["logits"], _maybe(t["seed_mm"])) for t in one["tiles"])
        centre, anchor = _triple(one["centre_mm"]), _triple(one["anchor_mm"])
        return Group(centre, float(one["spacing"]), float(one["anchor_suv"]), anchor, tiles)

    return Prediction(
        Prompts(
            tuple(Point(_triple(p["mm"]), bool(p["positive"])) for p in data["points"]),
            tuple(Box(_triple(b["lo_mm"]), _triple(b["hi_mm"])) for b in data["boxes"]),
        ),
        None if data["prior"] is None else some(data["prior"]),
        some(data["mask"]),
        some(data["probability"]),
        tuple(group(one) for one in data["groups"]),
    )


def _cell(values: list[int]) -> Cell:
    i, j, k = (int(x) for x in values)
    return i, j, k


def _triple(values: list[float]) -> Triple:
    r, a, s = (float(x) for x in values)
    return r, a, s


def _maybe(values: list[float] | None) -> Triple | None:
    return None if values is None else _triple(values)
