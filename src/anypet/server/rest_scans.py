"""REST: which scans there are, opening and sending them, their geometry and their voxels."""

from __future__ import annotations

import gzip
import json
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from anypet.errors import AnyPETError, ReadError
from anypet.server.engine import Engine
from anypet.server.scans import Entry, NotFoundError, Reading, Scan

Json = dict[str, Any]
Image = Literal["pet", "ct"]
_DAY = {"Cache-Control": "private, max-age=86400"}
_META = ("format", "modality", "study_uid", "series_uid", "patient", "suv", "series", "warnings")


class Opening(BaseModel):
    """How to read a scan; all of it may be left out."""

    unit: str | None = Field(None, description="SUVbw, where the file does not say what its values are")
    series: str | None = Field(None, description="Series UID or number, where there are several")
    frame: int | None = Field(None, description="of a dynamic scan, from 0")
    ct: str | None = Field(None, description="id of a scan that is the CT")


def owner_of(request: Request) -> str:
    """Whose token the request has."""
    return str(request.state.owner)


def tell_entry(entry: Entry, is_open: bool) -> Json:
    """A scan for a list."""
    return {
        "id": entry.id,
        "name": entry.name,
        "kind": entry.kind,
        "ct": entry.ct is not None,
        "open": is_open,
    }


def tell_scan(scan: Scan) -> Json:
    """A scan that is open: its grid, and what is known of its SUV."""
    pet = scan.pet
    meta = {key: pet.meta[key] for key in _META if key in pet.meta}
    return {
        **tell_entry(scan.entry, True),
        "ct": scan.ct is not None,
        "shape": list(pet.shape),
        "affine": pet.affine.tolist(),
        "spacing": pet.spacing.tolist(),
        "unit": pet.unit,
        "sha256": scan.sha256,
        "meta": meta,
    }


def scans_router(engine: Engine) -> APIRouter:
    """The addresses below /api/scans."""
    router = APIRouter(prefix="/api/scans", tags=["scans"])
    library = engine.library

    @router.get("")
    def list_scans(request: Request) -> list[Json]:
        """Scans of the folder, and those that were sent."""
        found = library.entries(owner_of(request))
        return [tell_entry(entry, library.is_open(entry.id)) for entry in found]

    @router.post("")
    async def send_scan(request: Request, name: str | None = None) -> Json:
        """Sends a scan: multipart form, one or more `files` (DICOM, a zip, or one image)."""
        files = await uploaded(request, "files")
        entry = await run_in_threadpool(library.upload, files, owner_of(request), name)
        return tell_entry(entry, False)

    @router.post("/demo")
    def make_demo(request: Request, seed: Annotated[int, Query(ge=0, le=10_000)] = 7) -> Json:
        """A simulated patient, for those who have no scan at hand."""
        from anypet.simulate import analytic_anatomy, simulate

        study = simulate(analytic_anatomy(seed), seed, "FDG", most_lesions=6)
        return tell_scan(library.add(study.pet, owner_of(request), f"demo {seed}", study.ct))

    @router.post("/{scan_id}/open")
    def open_scan(request: Request, scan_id: str, how: Opening | None = None) -> Json:
        """Reads a scan, with the unit, series or CT that it needs, and tells its grid."""
        how = how or Opening()  # type: ignore[call-arg]
        ct = None
        if how.ct is not None:
            path = library.entry(how.ct, owner_of(request)).path
            if path is None:
                raise NotFoundError("that scan has no file; it cannot be a CT")
            ct = str(path)
        reading = Reading(how.unit, how.series, how.frame, ct)
        return tell_scan(library.open(scan_id, owner_of(request), reading))

    @router.get("/{scan_id}")
    def tell(request: Request, scan_id: str) -> Json:
        """The grid of a scan; reads it if it is not open."""
        return tell_scan(library.open(scan_id, owner_of(request)))

    @router.delete("/{scan_id}")
    def remove(request: Request, scan_id: str) -> Json:
        """Deletes a scan that was sent; refused while sessions are on it."""
        owner = owner_of(request)
        used = [card.name for card in engine.store.cards(owner) if card.scan == scan_id]
        if used:
            raise AnyPETError(f"{len(used)} sessions are on this scan; delete them first")
        library.remove(scan_id, owner)
        return {"removed": scan_id}

    @router.get("/{scan_id}/{image}.nii.gz")
    def nifti(request: Request, scan_id: str, image: Image) -> FileResponse:
        """The PET (SUVbw) or the CT (HU, on the PET's grid) as NIfTI."""
        path = library.open(scan_id, owner_of(request)).nifti(image)
        return FileResponse(path, media_type="application/gzip", filename=f"{image}.nii.gz", headers=_DAY)

    @router.get("/{scan_id}/{image}/slab")
    def slab(
        request: Request,
        scan_id: str,
        image: Image,
        axis: Annotated[int, Query(ge=0, le=2)] = 2,
        start: Annotated[int, Query(ge=0)] = 0,
        stop: Annotated[int | None, Query(ge=1)] = None,
        dtype: Literal["float32", "uint16"] = "float32",
    ) -> Response:
        """Slices of the PET or CT: little-endian voxels, i fastest, gzip; X-Meta says shape, and the scale.

        A value is `slope * stored + intercept`.
        """
        volume = {"pet": (scan := library.open(scan_id, owner_of(request))).pet, "ct": scan.ct}[image]
        if volume is None:
            raise NotFoundError("this scan has no CT")
        stop = min(volume.shape[axis], stop if stop is not None else volume.shape[axis])
        if start >= stop:
            raise ReadError(f"slices {start} to {stop}: there are 0 to {volume.shape[axis] - 1}")
        index = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
        values = volume.array[index]
        slope, intercept = 1.0, 0.0
        if dtype == "uint16":
            intercept = float(values.min())
            slope = (float(values.max()) - intercept) / 65535 or 1.0
            values = np.round((values - intercept) / slope)
        raw = values.astype(f"<{'f4' if dtype == 'float32' else 'u2'}").tobytes(order="F")
        meta = {"shape": list(values.shape), "axis": axis, "start": start, "dtype": dtype}
        head = {
            "X-Meta": json.dumps({**meta, "slope": slope, "intercept": intercept}),
            "Content-Encoding": "gzip",
        }
        return Response(
            gzip.compress(raw, 1), media_type="application/octet-stream", headers={**_DAY, **head}
        )

    return router


async def uploaded(request: Request, field: str) -> list[tuple[str, Any]]:
    """The files of a form's field: name and content.

    Raises:
        ReadError: no such file in the form.
    """
    form = await request.form(max_files=100_000, max_fields=1000)
    files = [one for one in form.getlist(field) if isinstance(one, UploadFile)]
    if not files:
        raise ReadError(f"the request holds no file in its field {field!r}")
    return [(one.filename or "", one.file) for one in files]
