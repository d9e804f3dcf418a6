"""REST: sessions, their objects and prompts, and long work on them.

Every prompt answers with the objects that changed, each with the box of voxels that changed (see
`anypet.server.boxes`) and its measures.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from anypet.errors import PromptError
from anypet.objects import Patch
from anypet.server.boxes import decode
from anypet.server.engine import Engine, Step
from anypet.server.live import Live
from anypet.server.rest_scans import owner_of
from anypet.session import Progress

Json = dict[str, Any]
Space = Literal["mm", "voxel"]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
Name = Annotated[str, Field(min_length=1, max_length=120)]


class NewSession(BaseModel):
    scan: str = Field(description="id of a scan")
    name: str = Field("", max_length=120)


class OnObject(BaseModel):
    """A prompt goes to this object, or to the selected one."""

    object: str | None = None


class PointPrompt(OnObject):
    point: Triple = Field(description="RAS millimetres, or voxel (i, j, k)")
    positive: bool = True
    space: Space = "mm"


class ScribblePrompt(OnObject):
    points: Annotated[list[Triple], Field(min_length=1, max_length=100_000)]
    positive: bool = True
    space: Space = "mm"


class BoxPrompt(OnObject):
    lo: Triple
    hi: Triple
    space: Space = "mm"


class MaskPrompt(OnObject):
    mask: Json = Field(description="a box of encoding 'bits'; voxels outside of it are not in the mask")


class TextPrompt(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=300)]


class FindLesions(BaseModel):
    time_limit_s: Annotated[float, Field(gt=0, le=7200)] = 900.0
    mirror: Annotated[int, Field(ge=0, le=3)] = 3
    use_ct: bool = True


class ObjectChange(BaseModel):
    name: str = Field(description="which object")
    rename: Name | None = None
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = None
    hidden: bool | None = None


def tell_step(step: Step[Any]) -> Json:
    """What a prompt changed."""
    live = step.live
    return {
        "session": live.id,
        "selected": live.picture.selected,
        "seconds": round(step.seconds, 4),
        "objects": [live.tell(shown, changes=True) for shown in step.changed],
    }


def select(live: Live, name: str | None) -> None:
    """Selects the object that a prompt names."""
    if name is not None:
        live.session.select(name)


def sessions_router(engine: Engine) -> APIRouter:
    """The addresses below /api/sessions that change sessions."""
    router = APIRouter(prefix="/api/sessions", tags=["sessions"])

    @router.get("")
    def list_sessions(request: Request) -> list[Json]:
        """The sessions of this token, newest first."""
        return [engine.store.told(card) for card in engine.store.cards(owner_of(request))]

    @router.post("")
    async def new_session(request: Request, body: NewSession) -> Json:
        """A new session on a scan."""
        owner = owner_of(request)
        scan = await run_in_threadpool(engine.library.open, body.scan, owner)
        return (await engine.create(owner, scan, body.name)).told()

    @router.get("/{session_id}")
    async def tell(request: Request, session_id: str) -> Json:
        """A session without its masks: objects, prompts, measures."""
        return (await engine.live(session_id, owner_of(request))).told()

    @router.delete("/{session_id}")
    async def delete(request: Request, session_id: str) -> Json:
        """Deletes a session with its history."""
        await run_in_threadpool(engine.delete, session_id, owner_of(request))
        return {"removed": session_id}

    # -- prompts

    @router.post("/{session_id}/point")
    async def add_point(request: Request, session_id: str, body: PointPrompt) -> Json:
        """A click on an object, or beside it."""

        def work(live: Live) -> None:
            select(live, body.object)
            live.session.add_point(body.point, body.positive, body.space)

        return tell_step(await engine.step(session_id, owner_of(request), work, "points"))

    @router.post("/{session_id}/scribble")
    async def add_scribble(request: Request, session_id: str, body: ScribblePrompt) -> Json:
        """A drawn line."""

        def work(live: Live) -> None:
            select(live, body.object)
            live.session.add_scribble(body.points, body.positive, body.space)

        return tell_step(await engine.step(session_id, owner_of(request), work, "scribbles"))

    @router.post("/{session_id}/box")
    async def add_box(request: Request, session_id: str, body: BoxPrompt) -> Json:
        """A box around an object, by two opposite corners."""

        def work(live: Live) -> None:
            select(live, body.object)
            live.session.add_box(body.lo, body.hi, body.space)

        return tell_step(await engine.step(session_id, owner_of(request), work, "boxes"))

    @router.post("/{session_id}/mask")
    async def add_mask(request: Request, session_id: str, body: MaskPrompt) -> Json:
        """A mask that the reader has already, to be refined."""
        live = await engine.live(session_id, owner_of(request))
        mask = mask_of(body.mask, live)

        def work(live: Live) -> None:
            select(live, body.object)
            live.session.add_mask(mask)

        return tell_step(await engine.step(session_id, owner_of(request), work, "masks"))

    @router.post("/{session_id}/undo")
    async def undo(request: Request, session_id: str, body: OnObject | None = None) -> Json:
        """Takes an object's last step back."""
        return await _history(request, session_id, body, "undo")

    @router.post("/{session_id}/redo")
    async def redo(request: Request, session_id: str, body: OnObject | None = None) -> Json:
        """Repeats the step that was taken back."""
        return await _history(request, session_id, body, "redo")

    @router.post("/{session_id}/reset")
    async def reset(request: Request, session_id: str, body: OnObject | None = None) -> Json:
        """Clears an object; undo brings it back."""
        return await _history(request, session_id, body, "reset")

    async def _history(request: Request, session_id: str, body: OnObject | None, what: str) -> Json:
        def work(live: Live) -> None:
            select(live, None if body is None else body.object)
            getattr(live.session, what)()

        return tell_step(await engine.step(session_id, owner_of(request), work, "undos"))

    # -- objects

    @router.post("/{session_id}/objects")
    async def new_object(
        request: Request, session_id: str, name: Annotated[Name | None, Body(embed=True)] = None
    ) -> Json:
        """Begins another object and selects it."""

        def work(live: Live) -> None:
            live.session.new_object(name)

        return (await _told(request, session_id, work)).told()

    @router.post("/{session_id}/select")
    async def select_object(
        request: Request, session_id: str, name: Annotated[str, Body(embed=True)]
    ) -> Json:
        """Prompts go to this object from now on."""
        return (await _told(request, session_id, lambda live: live.session.select(name))).told()

    @router.patch("/{session_id}/objects")
    async def change_object(request: Request, session_id: str, body: ObjectChange) -> Json:
        """Another name or colour, or hides an object."""

        def work(live: Live) -> None:
            look = {k: v for k, v in (("colour", body.colour), ("hidden", body.hidden)) if v is not None}
            live.look(body.name, **look)
            if body.rename is not None:
                live.rename(body.name, body.rename)

        return (await _told(request, session_id, work)).told()

    @router.delete("/{session_id}/objects")
    async def remove_object(request: Request, session_id: str, name: Annotated[str, Query()]) -> Json:
        """Deletes an object with its history."""
        return (await _told(request, session_id, lambda live: live.session.remove(name))).told()

    async def _told(request: Request, session_id: str, work: Any) -> Live:
        return (await engine.step(session_id, owner_of(request), work)).live

    # -- the whole scan

    @router.post("/{session_id}/lesions", status_code=202)
    async def find_lesions(request: Request, session_id: str, body: FindLesions | None = None) -> Json:
        """Begins the search for all lesions -> a job; each lesion becomes an object."""
        how = body or FindLesions()

        def work(live: Live, progress: Progress) -> Json:
            ct = live.scan.ct if how.use_ct else None
            found = live.session.find_lesions(
                ct, time_limit_s=how.time_limit_s, mirror=how.mirror, progress=progress,
                **engine.lesions(live.id),
            )  # fmt: skip
            return tell_lesions(found)

        return engine.begin(session_id, owner_of(request), "lesions", work).told()

    @router.post("/{session_id}/lesions/click")
    async def click_lesion(request: Request, session_id: str, body: PointPrompt) -> Json:
        """After the search: adds the lesion at a point, or rejects it."""

        def work(live: Live) -> None:
            live.session.click_lesion(body.point, body.positive, body.space)

        return tell_step(await engine.step(session_id, owner_of(request), work, "points"))

    @router.post("/{session_id}/text", status_code=202)
    async def add_text(request: Request, session_id: str, body: TextPrompt) -> Json:
        """Begins the segmentation of what words name ("left kidney", "all lesions") -> a job."""

        def work(live: Live, progress: Progress) -> Json:
            found = live.session.add_text(
                body.text, live.scan.ct, progress=progress, **engine.lesions(live.id)
            )
            return {"names": list(found)}

        return engine.begin(session_id, owner_of(request), "text", work).told()

    return router


def jobs_router(engine: Engine) -> APIRouter:
    """The addresses below /api/jobs."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @router.get("/{job_id}")
    async def tell(request: Request, job_id: str, wait: Annotated[float, Query(ge=0, le=30)] = 0) -> Json:
        """How far a job is; waits up to `wait` seconds for news. Its result is that of a prompt."""
        job = engine.jobs.get(job_id, owner_of(request))
        await engine.jobs.wait(job, wait)
        return job.told()

    @router.delete("/{job_id}")
    async def cancel(request: Request, job_id: str) -> Json:
        """Ends a job at its next tile."""
        job = engine.jobs.get(job_id, owner_of(request))
        job.cancel()
        return job.told()

    return router


def tell_lesions(found: Any) -> Json:
    """What is said of a `LesionResult` beside the objects."""
    return {
        "lesions": int(found.instances.max()),
        "tracers": list(found.used),
        "notes": list(found.notes),
        "changes": [
            {"action": c.action, "volume_ml": c.volume_ml, "reason": c.reason} for c in found.changes
        ],
        "seconds": round(found.seconds, 2),
    }


def mask_of(box: Json, live: Live) -> Any:
    """A box as a mask on the session's grid.

    Raises:
        PromptError: it is no box, or reaches out of the scan.
    """
    shape = live.scan.pet.shape
    try:
        sizes = [int(n) for n in box["shape"]]
        fits = all(
            int(s) >= 0 and n > 0 and int(s) + n <= m
            for s, n, m in zip(box["start"], sizes, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"from {box['start']}, {sizes} voxels, in a scan of {shape}")
        patch: Patch = decode(box)
    except (KeyError, TypeError, ValueError) as error:
        raise PromptError(f"the mask is no box of voxels of this scan: {error}") from error
    return patch.on_grid(shape, bool)
