"""REST: the archive (PACS) that the server was given: studies are found, fetched, and given results back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from anypet.errors import AnyPETError, PromptError
from anypet.server.derived import dicom_objects
from anypet.server.engine import Engine
from anypet.server.live import Live
from anypet.server.rest_scans import owner_of, tell_entry
from anypet.server.scans import NotFoundError
from anypet.session import Progress

if TYPE_CHECKING:
    from anypet.dicomweb import Archive

Json = dict[str, Any]
Text = Annotated[str, Query(max_length=64)]


class Results(BaseModel):
    """What to store of a session."""

    kinds: Annotated[list[Literal["seg", "rtstruct", "sr"]], Field(min_length=1)] = ["seg", "rtstruct", "sr"]
    objects: Annotated[list[str], Field(description="names; none means all")] = []


def pacs_router(engine: Engine) -> APIRouter:
    """The addresses below /api/pacs, and what gives a session's results to the archive."""
    router = APIRouter(tags=["archive"])

    @router.get("/api/pacs")
    def tell() -> Json:
        """The archive's host, or null where the server was given none."""
        archive = engine.settings.archive
        return {"name": None if archive is None else archive.name}

    @router.get("/api/pacs/studies")
    def find(
        patient: Text = "", name: Text = "", date: Text = "", accession: Text = "", study: Text = ""
    ) -> list[Json]:
        """PET studies in the archive, newest first; a part of the name, YYYYMMDD or a range of dates."""
        found = archive_of(engine).find(
            patient=patient, name=name, date=date, accession=accession, study=study
        )
        return [asdict(one) for one in found]

    @router.post("/api/pacs/studies/{study}/fetch", status_code=202)
    def fetch(request: Request, study: str) -> Json:
        """Begins to copy the PET and CT of a study -> a job, whose result is a scan of the server."""
        from anypet.dicomweb import checked_uid

        archive, owner = archive_of(engine), owner_of(request)
        checked_uid(study)

        def work(progress: Progress) -> Json:
            found = archive.find(study=study, modality="")
            title = " ".join(filter(None, (found[0].patient_name, found[0].date))) if found else study
            entry = engine.library.keep(
                lambda folder: archive.fetch(study, folder / "study", progress=progress), owner, title, "pacs"
            )
            return tell_entry(entry, False)

        return engine.begin_aside(owner, "fetch", work).told()

    @router.post("/api/sessions/{session_id}/push", status_code=202)
    async def push(request: Request, session_id: str, body: Results | None = None) -> Json:
        """Begins to store SEG, RTSTRUCT and SR in the archive -> a job, whose result tells their UIDs."""
        archive, owner, how = archive_of(engine), owner_of(request), body or Results()
        live = await engine.live(session_id, owner)
        if not live.scan.is_dicom:
            raise AnyPETError(
                f"{live.scan.entry.name} is no DICOM study: nothing in an archive can refer to it"
            )
        items = live.items(how.objects)
        if not any(item.voxels for item in items):
            raise PromptError("nothing is segmented yet: click on something first")

        def work(progress: Progress) -> Json:
            return stored(archive, live, items, how.kinds)

        return engine.begin_aside(owner, "push", work, session_id).told()

    return router


def stored(archive: Archive, live: Live, items: list[Any], kinds: list[Any]) -> Json:
    """Makes the objects and stores them -> kind, SOP Instance UID and Series Instance UID of each."""
    made = dicom_objects(live, items, kinds)
    archive.store(made.values())
    return {
        "stored": [
            {"kind": kind, "instance": str(one.SOPInstanceUID), "series": str(one.SeriesInstanceUID)}
            for kind, one in made.items()
        ]
    }


def archive_of(engine: Engine) -> Archive:
    """The archive.

    Raises:
        NotFoundError: the server was given none.
    """
    if engine.settings.archive is None:
        raise NotFoundError("this server was started without an archive; anypet serve --pacs URL names one")
    return engine.settings.archive
