"""A session on a server, used like a `Session` on this machine; masks are kept up to date by what changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anypet.checks import mask_prompt
from anypet.client import Server
from anypet.errors import AnyPETError, PromptError
from anypet.files import write_whole
from anypet.objects import Patch
from anypet.prompts import Box, Point, Prompts
from anypet.server.boxes import decode, encode_mask, put
from anypet.session import Suggestion
from anypet.volume import Volume

if TYPE_CHECKING:
    from anypet.checks import Space
    from anypet.session import Progress

BoolArray = npt.NDArray[np.bool_]
Json = dict[str, Any]


@dataclass(eq=False)
class RemoteObject:
    """An object of a session on a server: its prompts, measures and mask as of the last answer.

    Args:
        name: of the object.
        scan_shape: voxels along (i, j, k).
        told: the server's JSON.
        fetch: asks the server for the mask of an object.
    """

    name: str
    scan_shape: tuple[int, int, int]
    told: Json
    fetch: Callable[[str], Patch]
    _mask: BoolArray | None = field(default=None, repr=False)

    @property
    def mask(self) -> BoolArray:
        """Bool array on the scan's grid, (i, j, k) order."""
        if self._mask is None:
            self._mask = self.fetch(self.name).on_grid(self.scan_shape, bool)
        return self._mask.copy()

    @property
    def prompts(self) -> Prompts:
        """The points and boxes that count now, in RAS millimetres."""
        told = self.told["prompts"]
        points = tuple(Point(tuple(p["mm"]), bool(p["positive"])) for p in told["points"])
        return Prompts(points, tuple(Box(tuple(b["lo_mm"]), tuple(b["hi_mm"])) for b in told["boxes"]))

    @property
    def measures(self) -> dict[str, float]:
        """As `anypet.objects.SegmentedObject.measures`; NaN where there is none."""
        return {k: float("nan") if v is None else float(v) for k, v in self.told["measures"].items()}

    @property
    def voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(self.measures["voxels"])

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in millilitres."""
        return self.measures["volume_ml"]

    def follow(self, told: Json) -> None:
        """Takes over what a step changed; a mask that is behind is fetched when it is asked for."""
        if self._mask is not None:
            if told.get("before") == self.told["revision"]:
                if told["changed"] is not None:
                    put(decode(told["changed"]), self._mask)
            else:
                self._mask = None
        self.told = told


@dataclass(frozen=True)
class RemoteLesions:
    """What `find_lesions` found: the objects are the lesions.

    Args:
        names: of the objects that changed.
        tracers, notes, changes, seconds: as in `anypet.lesions.finder.LesionResult`.
    """

    names: tuple[str, ...]
    tracers: tuple[str, ...]
    notes: tuple[str, ...]
    changes: tuple[Json, ...]
    seconds: float


class RemoteSession:
    """A session on a server; its methods are those of `anypet.Session`.

    Args:
        server: where it is.
        told: the server's JSON of the session.
    """

    def __init__(self, server: Server, told: Json) -> None:
        self.server = server
        self.id = str(told["id"])
        self._scan_id = str(told["scan"])
        self.grid: Json = server.get(f"/api/scans/{self._scan_id}")
        i, j, k = self.grid["shape"]
        self._shape: tuple[int, int, int] = (int(i), int(j), int(k))
        self._scan: Volume | None = None
        self.objects: dict[str, RemoteObject] = {}
        self._selected = ""
        self._take(told)

    # -- prompts ---------------------------------------------------------------------------------------------

    def add_point(self, point: Sequence[float], positive: bool = True, space: Space = "voxel") -> BoolArray:
        """As `Session.add_point`."""
        return self._prompt("point", {"point": _list(point), "positive": positive, "space": space})

    def add_scribble(
        self, points: Iterable[Sequence[float]], positive: bool = True, space: Space = "voxel"
    ) -> BoolArray:
        """As `Session.add_scribble`."""
        body = {"points": [_list(p) for p in points], "positive": positive, "space": space}
        return self._prompt("scribble", body)

    def add_box(self, lo: Sequence[float], hi: Sequence[float], space: Space = "voxel") -> BoolArray:
        """As `Session.add_box`."""
        return self._prompt("box", {"lo": _list(lo), "hi": _list(hi), "space": space})

    def add_mask(self, mask: npt.ArrayLike | Volume) -> BoolArray:
        """As `Session.add_mask`."""
        grid = Volume(np.broadcast_to(np.float32(0), self._shape), np.array(self.grid["affine"]), "SUVbw")
        return self._prompt("mask", {"mask": encode_mask(mask_prompt(grid, mask))})

    def undo(self) -> BoolArray:
        """As `Session.undo`."""
        return self._prompt("undo", {})

    def redo(self) -> BoolArray:
        """As `Session.redo`."""
        return self._prompt("redo", {})

    def reset(self) -> BoolArray:
        """As `Session.reset`."""
        return self._prompt("reset", {})

    def _prompt(self, what: str, body: Json) -> BoolArray:
        self._follow(self.server.post(f"/api/sessions/{self.id}/{what}", {**body, "object": self._selected}))
        return self.mask

    # -- the whole scan --------------------------------------------------------------------------------------

    def find_lesions(
        self, *, time_limit_s: float = 900.0, mirror: int = 3, progress: Progress | None = None
    ) -> RemoteLesions:
        """As `Session.find_lesions`, with the CT that the server has of the scan."""
        body = {"time_limit_s": time_limit_s, "mirror": mirror}
        told = self._job("lesions", body, progress)
        return RemoteLesions(
            tuple(one["name"] for one in told["objects"]), tuple(told["tracers"]), tuple(told["notes"]),
            tuple(told["changes"]), float(told["seconds"]),
        )  # fmt: skip

    def click_lesion(
        self, point: Sequence[float], positive: bool = True, space: Space = "voxel"
    ) -> list[RemoteObject]:
        """As `Session.click_lesion` -> the objects that changed."""
        body = {"point": _list(point), "positive": positive, "space": space}
        return self._follow(self.server.post(f"/api/sessions/{self.id}/lesions/click", body))

    def add_text(self, text: str, *, progress: Progress | None = None) -> dict[str, BoolArray]:
        """As `Session.add_text`."""
        told = self._job("text", {"text": text}, progress)
        return {name: self.objects[name].mask for name in told["names"]}

    def _job(self, what: str, body: Json, progress: Progress | None) -> Json:
        """Begins long work and waits for its end; Ctrl-C ends it on the server too."""
        job = self.server.post(f"/api/sessions/{self.id}/{what}", body)
        try:
            while job["state"] == "running":
                job = self.server.get(f"/api/jobs/{job['id']}", wait=10)
                if progress is not None:
                    progress(int(job["done"]), int(job["planned"]))
        except BaseException:
            with contextlib.suppress(AnyPETError):
                self.server.send("DELETE", f"/api/jobs/{job['id']}")
                self._take(self.server.get(f"/api/sessions/{self.id}"))
            raise
        self._take(self.server.get(f"/api/sessions/{self.id}"))
        if job["state"] != "done":
            raise AnyPETError(f"{self.server.url}: {job['error']}")
        result: Json = job["result"]
        return result

    # -- results ---------------------------------------------------------------------------------------------

    @property
    def scan(self) -> Volume:
        """The PET, SUVbw; fetched from the server when it is first asked for."""
        if self._scan is None:
            answer = self.server.send("GET", f"/api/scans/{self._scan_id}/pet/slab")
            meta = json.loads(answer.headers["X-Meta"])
            array = np.frombuffer(answer.content, "<f4").reshape(meta["shape"], order="F")
            self._scan = Volume(array, np.array(self.grid["affine"]), str(self.grid["unit"]))
        return self._scan

    @property
    def mask(self) -> BoolArray:
        """The selected object: bool array on the scan's grid."""
        return self.selected.mask

    @property
    def probability(self) -> npt.NDArray[np.float32]:
        """The model's probability of the selected object, in steps of 1/255: float32 on the scan's grid."""
        return self._levels("probability")

    @property
    def uncertainty(self) -> npt.NDArray[np.float32]:
        """As `Session.uncertainty`, in steps of 1/255 of its highest value."""
        return self._levels("uncertainty")

    def _levels(self, what: str) -> npt.NDArray[np.float32]:
        told = self.server.get(f"/api/sessions/{self.id}/{what}", object=self._selected)
        return decode(told["box"]).on_grid(self._shape, np.float32)

    def suggest_point(self) -> Suggestion | None:
        """As `Session.suggest_point`."""
        told = self.server.get(f"/api/sessions/{self.id}/suggestion", object=self._selected)["suggestion"]
        if told is None:
            return None
        i, j, k = (int(v) for v in told["voxel"])
        return Suggestion((i, j, k), bool(told["positive"]))

    @property
    def labels(self) -> Volume:
        """As `Session.labels`."""
        array = np.zeros(self._shape, np.uint8 if len(self.objects) < 256 else np.uint16)
        for value, item in enumerate(self.objects.values(), start=1):
            array[item.mask & (array == 0)] = value
        names = dict(enumerate(self.objects, start=1))
        return Volume(array, np.array(self.grid["affine"]), "label", {"names": names})

    # -- objects ---------------------------------------------------------------------------------------------

    @property
    def selected(self) -> RemoteObject:
        """The object that prompts go to."""
        return self.objects[self._selected]

    def new_object(self, name: str | None = None) -> RemoteObject:
        """As `Session.new_object`."""
        self._take(self.server.post(f"/api/sessions/{self.id}/objects", {"name": name}))
        return self.selected

    def select(self, name: str) -> RemoteObject:
        """As `Session.select`."""
        self._take(self.server.post(f"/api/sessions/{self.id}/select", {"name": name}))
        return self.selected

    def rename(self, name: str, new: str) -> None:
        """As `Session.rename`."""
        body = {"name": name, "rename": new}
        self._take(self.server.send("PATCH", f"/api/sessions/{self.id}/objects", json=body).json())

    def remove(self, name: str) -> None:
        """As `Session.remove`."""
        self._take(
            self.server.send("DELETE", f"/api/sessions/{self.id}/objects", params={"name": name}).json()
        )

    # -- files -----------------------------------------------------------------------------------------------

    def save(
        self, path: str | os.PathLike[str], *, kind: str = "session", objects: Iterable[str] = ()
    ) -> Path:
        """Saves the session as a file.

        Args:
            path: where.
            kind: "session" (*.anypet, opened by `Session.load`), "nifti", ...; see `exports`.
            objects: names; none means all.
        """
        answer = self.server.send(
            "GET", f"/api/sessions/{self.id}/export/{kind}", params=[("object", name) for name in objects]
        )
        return write_whole(Path(path), answer.content)

    @property
    def exports(self) -> list[str]:
        """The kinds of file that `save` can write."""
        return [one["kind"] for one in self.server.get(f"/api/sessions/{self.id}/exports")]

    @property
    def model_name(self) -> str:
        """The name of the server's model."""
        return str(self.server.get("/api/info")["model"])

    def close(self) -> None:
        """Closes the connection; the session stays on the server."""
        self.server.close()

    # -- following the server --------------------------------------------------------------------------------

    def _patch(self, name: str) -> Patch:
        return decode(self.server.get(f"/api/sessions/{self.id}/mask", object=name)["mask"])

    def _follow(self, step: Json) -> list[RemoteObject]:
        """Takes over what a prompt changed."""
        changed = []
        for told in step["objects"]:
            item = self.objects.get(told["name"])
            if item is None:
                item = self.objects[told["name"]] = RemoteObject(told["name"], self._shape, told, self._patch)
            else:
                item.follow(told)
            changed.append(item)
        self._selected = step["selected"]
        return changed

    def _take(self, told: Json) -> None:
        """Takes over a session's whole state; masks that are still right are kept."""
        old, self.objects = self.objects, {}
        for one in told["objects"]:
            item = old.get(one["name"])
            if item is None or item.told["revision"] != one["revision"]:
                item = RemoteObject(one["name"], self._shape, one, self._patch)
            item.told = one
            self.objects[item.name] = item
        self._selected = told["selected"]

    def __enter__(self) -> RemoteSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _list(values: Sequence[float]) -> list[float]:
    """Numbers as JSON takes them.

    Raises:
        PromptError: not numbers.
    """
    try:
        return [float(v) for v in values]
    except (TypeError, ValueError) as error:
        raise PromptError(f"a point must be three numbers, got {values!r}") from error
