"""REST: what a session has found: masks, uncertainty, the next click, files, annotation times."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from anypet.objects import Patch
from anypet.server.boxes import encode_levels, encode_mask
from anypet.server.engine import Engine
from anypet.server.exports import export, export_of, exports_for
from anypet.server.live import Live, Shown
from anypet.server.rest_scans import owner_of
from anypet.server.scans import NotFoundError
from anypet.server.uploads import discard

Json = dict[str, Any]
LN2 = 0.6931471805599453


def results_router(engine: Engine) -> APIRouter:
    """The addresses below /api/sessions that read sessions."""
    router = APIRouter(prefix="/api/sessions/{session_id}", tags=["results"])

    @router.get("/mask")
    async def mask(request: Request, session_id: str, object: str | None = None) -> Json:  # noqa: A002
        """An object's whole mask, as the box that holds it."""
        live = await engine.live(session_id, owner_of(request))
        shown = shown_object(live, object)
        return {"object": shown.name, "revision": shown.revision, "mask": encode_mask(shown.step.mask)}

    @router.get("/probability")
    async def probability(request: Request, session_id: str, object: str | None = None) -> Json:  # noqa: A002
        """The model's probability of an object, 0 to 1, as the box outside of which it is 0."""
        live = await engine.live(session_id, owner_of(request))
        shown = shown_object(live, object)
        return {
            "object": shown.name,
            "revision": shown.revision,
            "box": encode_levels(shown.step.probability, 1.0),
        }

    @router.get("/uncertainty")
    async def uncertainty(request: Request, session_id: str, object: str | None = None) -> Json:  # noqa: A002
        """Where an object's prompts disagree: entropy in nats, 0 to ln 2."""

        def work(live: Live) -> Json:
            with looking_at(live, object) as name:
                entropy = live.session.uncertainty
            return {"object": name, "box": encode_levels(Patch.tight(entropy, entropy > 0), LN2)}

        return await engine.call(session_id, owner_of(request), work)

    @router.get("/suggestion")
    async def suggestion(request: Request, session_id: str, object: str | None = None) -> Json:  # noqa: A002
        """The click that would tell most, or null."""

        def work(live: Live) -> Json:
            with looking_at(live, object) as name:
                found = live.session.suggest_point()
            if found is None:
                return {"object": name, "suggestion": None}
            mm = live.scan.pet.to_mm(found.voxel).tolist()
            told = {"voxel": list(found.voxel), "mm": mm, "positive": found.positive}
            return {"object": name, "suggestion": told}

        return await engine.call(session_id, owner_of(request), work)

    @router.get("/table")
    async def table(request: Request, session_id: str) -> list[Json]:
        """The measures of every object that is not empty, with SUVpeak, which takes longer than a click."""
        live = await engine.live(session_id, owner_of(request))
        return await run_in_threadpool(live.table)

    @router.get("/exports")
    async def exports(request: Request, session_id: str) -> list[Json]:
        """The kinds of file that this session can be saved as."""
        live = await engine.live(session_id, owner_of(request))
        return [{"kind": one.kind, "title": one.title, "suffix": one.suffix} for one in exports_for(live)]

    @router.get("/export/{kind}")
    async def save(
        request: Request,
        session_id: str,
        kind: str,
        object: Annotated[list[str] | None, Query()] = None,  # noqa: A002
        anonymise: bool = False,
    ) -> FileResponse:
        """The session as a file, with all objects or those that are named, and the patient named or not."""
        owner = owner_of(request)
        live = await engine.live(session_id, owner)
        how = export_of(live, kind)
        folder = Path(tempfile.mkdtemp(prefix="anypet-export-"))
        done = BackgroundTask(discard, folder)
        try:
            if how.whole:
                work = partial(export, how=how, names=object or (), folder=folder, anonymise=anonymise)
                path = await engine.call(session_id, owner, work)
            else:
                path = await run_in_threadpool(export, live, how, object or (), folder, anonymise)
        except BaseException:
            discard(folder)
            raise
        name = how.kind if anonymise else live.name
        title, plain = quote(f"{Path(name).name}{how.suffix}"), f"{how.kind}{how.suffix}"
        head = {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{title}"}
        return FileResponse(path, media_type=how.media_type, headers=head, background=done)

    @router.get("/timers")
    async def timers(request: Request, session_id: str) -> Json:
        """Seconds that each object took, and its prompts; the export of kind "timers" is the table."""
        live = await engine.live(session_id, owner_of(request))
        return {
            name: {
                **row,
                "seconds": round(live.timers.seconds(name), 2),
                "running": live.timers.running(name),
            }
            for name, row in live.timers.state().items()
        }

    @router.post("/timers")
    async def set_timer(
        request: Request,
        session_id: str,
        object: Annotated[str, Body()],  # noqa: A002
        event: Annotated[Literal["start", "stop"], Body()],
    ) -> Json:
        """Starts or stops the clock of an object; starting one stops the others."""

        def work(live: Live) -> None:
            shown_object(live, object)
            (live.timers.start if event == "start" else live.timers.stop)(object)

        await engine.call(session_id, owner_of(request), work)
        return await timers(request, session_id)

    return router


def shown_object(live: Live, name: str | None) -> Shown:
    """An object as readers see it; the selected one without a name.

    Raises:
        NotFoundError: there is no such object.
    """
    picture = live.picture
    name = picture.selected if name is None else name
    if name not in picture.objects:
        raise NotFoundError(f"there is no object {name[:120]!r}")
    return picture.objects[name]


@contextmanager
def looking_at(live: Live, name: str | None) -> Iterator[str]:
    """Selects an object for one question, and after it the one that was selected before."""
    before = live.session.selected.name
    try:
        yield live.session.select(before if name is None else name).name
    finally:
        live.session.select(before)
