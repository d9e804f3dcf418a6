"""nnInteractive's protocol (client 2.x), so that its 3D Slicer and napari plugins work with this server.

Within the protocol a session here can do more: undo goes back to the beginning, boxes may be 3D, the
spacing is used, and every session stays on disk. A reset begins another object, so what was made before is
kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from anypet.checks import point_prompt
from anypet.errors import AnyPETError, PromptError
from anypet.objects import Patch, Prediction
from anypet.prompts import Box, Point, Prompts
from anypet.server.boxes import changed_box
from anypet.server.client_images import volume_of
from anypet.server.drawn import box_prompts, clicks, spread
from anypet.server.engine import Engine
from anypet.server.leases import ExpiredError, FullError, Lease, Leases
from anypet.server.live import Live
from anypet.server.nn_requests import (
    META,
    buffer_of,
    drawn_patch,
    included,
    numbers,
    parse_meta,
    reply,
    wanted,
)
from anypet.server.nnia import pack, unpack
from anypet.server.rest_scans import owner_of
from anypet.server.uploads import TooLargeError

Json = dict[str, Any]
LEASE = "X-Lease-Token"
PROTOCOL = "2.6.0"
_STATUS: dict[type[AnyPETError], int] = {ExpiredError: 410, FullError: 503, TooLargeError: 413}
Token = Annotated[str | None, Header(alias=LEASE)]
Meta = Annotated[str | None, Header(alias=META)]


class _Route(APIRoute):
    """Errors with the statuses that the protocol's clients know."""

    def get_route_handler(self) -> Callable[..., Any]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except AnyPETError as error:
                status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
                headers = {"Retry-After": "10"} if status == 503 else None
                return JSONResponse({"detail": str(error)}, status, headers)

        return handle


def capabilities(patch: tuple[int, ...]) -> Json:
    """What the protocol's clients ask first."""
    return {
        "supported_interactions": dict.fromkeys(("points", "scribble", "lasso", "bbox2d", "bbox3d"), True),
        "channel_mapping": {
            "prev_seg": 0, "bbox": [1, 2], "lasso": [1, 2], "points": [3, 4], "scribble": [5, 6]
        },
        "num_interaction_channels": 7,
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": True,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 1.0,
        "patch_size": list(patch),
        "do_autozoom": True,
        "inference_session_version": PROTOCOL,
        "license": "Apache-2.0",
        "supports_undo": True,
    }  # fmt: skip


def nninteractive_router(engine: Engine, leases: Leases) -> APIRouter:
    """The protocol's addresses, right below the server's."""
    router = APIRouter(tags=["nnInteractive"], route_class=_Route)
    most = engine.settings.limits.image_bytes

    @router.post("/claim")
    async def claim(request: Request) -> Json:
        """A lease for one client."""
        lease = leases.claim(owner_of(request))
        return {
            "lease_token": lease.token,
            "idle_timeout_seconds": leases.idle_s,
            "liveness_timeout_seconds": leases.liveness_s,
            "max_sessions": leases.most,
        }

    @router.get("/capabilities")
    async def tell_capabilities(request: Request) -> Json:
        """What kinds of prompt there are."""
        model = engine.workers[0].submit("capabilities", engine.model)
        return capabilities((await asyncio.wrap_future(model)).spec.window)

    @router.post("/release")
    async def release(request: Request, token: Token = None) -> Json:
        """Gives a lease back; its session stays on disk if anything was done in it."""
        lease = leases.release(token, owner_of(request))
        if lease is not None:
            await run_in_threadpool(drop_unused, engine, lease)
        return {"released": True}

    @router.post("/heartbeat")
    async def heartbeat(request: Request, token: Token = None) -> Json:
        """A sign of life."""
        return {"remaining_seconds": leases.remaining(leases.get(token, owner_of(request), "life"))}

    @router.get("/lease_status")
    async def lease_status(request: Request, token: Token = None) -> Json:
        """How long the lease lasts without an action."""
        lease = leases.get(token, owner_of(request), "look")
        return {"remaining_seconds": leases.remaining(lease), "idle_timeout_seconds": leases.idle_s}

    @router.post("/set_image")
    async def set_image(request: Request, token: Token = None, meta: Meta = None) -> Json:
        """The image (C, X, Y, Z), SUVbw; begins a session on it."""
        lease = leases.get(token, owner_of(request))
        properties = parse_meta(meta).get("image_properties") or {}
        data = await request.body()

        def keep() -> tuple[Any, tuple[int, ...]]:
            array = unpack(data, most)
            volume = volume_of(array, properties, engine.settings.client_unit)
            name = time.strftime("nnInteractive %Y-%m-%d %H:%M")
            return engine.library.add(volume, lease.owner, name), array.shape

        scan, shape = await run_in_threadpool(keep)
        await run_in_threadpool(drop_unused, engine, lease)
        live = await engine.create(lease.owner, scan, client="nninteractive")
        lease.session, lease.object = live.id, live.picture.selected
        lease.shown, lease.pending = Patch.empty(bool), []
        return {"original_image_shape": list(shape)}

    @router.post("/set_target_buffer")
    async def set_target_buffer(request: Request, body: Annotated[Json, Body()], token: Token = None) -> Json:
        """What the client keeps the mask in; it is taken to be empty."""
        lease = leases.get(token, owner_of(request))
        shape, dtype = buffer_of(body, most)
        if lease.session:
            live = await engine.live(lease.session, lease.owner)
            if shape != live.scan.pet.shape:
                raise PromptError(f"the buffer has shape {shape}, the image {live.scan.pet.shape}")
        lease.dtype, lease.shown = dtype, Patch.empty(bool)
        return {}

    @router.post("/set_do_autozoom")
    async def set_do_autozoom(request: Request, body: Annotated[Json, Body()], token: Token = None) -> Json:
        """Taken note of: sessions here always look as coarsely and as closely as an object needs."""
        leases.get(token, owner_of(request))
        return {}

    @router.post("/reset_interactions")
    async def reset_interactions(request: Request, token: Token = None) -> Json:
        """Begins another object."""
        lease = leases.get(token, owner_of(request))
        lease.pending, lease.shown = [], Patch.empty(bool)

        def work(live: Live) -> None:
            live.session.select(lease.object)
            if len(live.session.selected.steps) > 1:
                lease.object = live.session.new_object().name

        if lease.session:
            await engine.call(lease.session, lease.owner, work)
        return {}

    @router.post("/undo")
    async def undo(request: Request, token: Token = None) -> Response:
        """Takes the last interaction back; as often as there were any."""
        lease = leases.get(token, owner_of(request))

        def work(live: Live) -> bool:
            if lease.pending:
                lease.pending.pop()
                return True
            can = live.session.selected.cursor > 0
            live.session.undo()
            return can

        return await step(lease, work, "undos")

    @router.post("/predict")
    async def predict(request: Request, token: Token = None) -> Response:
        """A prediction from the prompts that wanted none when they came."""
        lease = leases.get(token, owner_of(request))
        return await step(lease, lambda live: bool(lease.pending) and give(live, lease), "points")

    @router.post("/add_point_interaction")
    async def add_point(request: Request, body: Annotated[Json, Body()], token: Token = None) -> Response:
        """A click: voxel of the array as it was sent."""
        lease = leases.get(token, owner_of(request))

        def work(live: Live) -> bool:
            voxel = numbers(body, "coordinates", (3,)).tolist()
            return add(
                live, lease, [point_prompt(live.scan.pet, voxel, included(body), "voxel")], None, wanted(body)
            )

        return await step(lease, work, "points")

    @router.post("/add_bbox_interaction")
    async def add_bbox(request: Request, body: Annotated[Json, Body()], token: Token = None) -> Response:
        """A box, half open along each axis; flat ones get a depth."""
        lease = leases.get(token, owner_of(request))

        def work(live: Live) -> bool:
            ends = numbers(body, "bbox_coords", (3, 2))
            points, box = box_prompts(live.scan.pet, ends, included(body), live.session.selected)
            return add(live, lease, points, box, wanted(body))

        return await step(lease, work, "boxes")

    @router.post("/add_scribble_interaction")
    async def add_scribble(request: Request, token: Token = None, meta: Meta = None) -> Response:
        """A drawn line, as a mask: some of its voxels become clicks of one step."""
        lease, told = leases.get(token, owner_of(request)), parse_meta(meta)
        drawing = await run_in_threadpool(unpack, await request.body(), most)

        def work(live: Live) -> bool:
            patch = drawn_patch(drawing, told, live.scan.pet.shape)
            voxels = spread(patch.values, patch.start, live.scan.pet.spacing)
            return add(live, lease, clicks(live.scan.pet, voxels, included(told)), None, wanted(told))

        return await step(lease, work, "scribbles")

    @router.post("/add_lasso_interaction")
    async def add_lasso(request: Request, token: Token = None, meta: Meta = None) -> Response:
        """A closed line, as the mask of what is in it: a box around it, or clicks that reject it."""
        lease, told = leases.get(token, owner_of(request)), parse_meta(meta)
        drawing = await run_in_threadpool(unpack, await request.body(), most)

        def work(live: Live) -> bool:
            patch = drawn_patch(drawing, told, live.scan.pet.shape)
            ends = np.array([[s.start, s.stop] for s in patch.slices], dtype=float)
            points, box = box_prompts(live.scan.pet, ends, included(told), live.session.selected, patch)
            return add(live, lease, points, box, wanted(told))

        return await step(lease, work, "boxes")

    @router.post("/add_initial_seg_interaction")
    async def add_initial(request: Request, token: Token = None, meta: Meta = None) -> Response:
        """A mask to begin with, in place of all prompts; it is refined at once, or with the next prompt."""
        lease, told = leases.get(token, owner_of(request)), parse_meta(meta)
        array = await run_in_threadpool(unpack, await request.body(), most)

        def work(live: Live) -> bool:
            shape = live.scan.pet.shape
            empty = array.shape == shape and not array.any()  # what a viewer sends for a new object
            patch = Patch.empty(bool) if empty else drawn_patch(array, {}, shape)
            lease.pending = []
            lease.shown = patch  # the client has written it into its buffer itself
            if empty:
                live.session.reset()
                return False
            refine = wanted(told, False)
            live.session.selected.push(Prediction(Prompts(), patch, patch))
            if refine:
                live.session.prompt(prior=Patch(patch.start, patch.values))
            return refine

        return await step(lease, work, "masks")

    async def step(lease: Lease, work: Callable[[Live], bool], kind: str) -> Response:
        """Runs an interaction; the answer is the box of the client's buffer that changed."""
        if not lease.session:
            raise PromptError("there is no image yet: set_image comes first")

        def run(live: Live) -> tuple[bool, Patch | None]:
            live.session.select(lease.object)
            ran = work(live)
            if not ran:
                return False, None
            mask = live.session.selected.current.mask
            changed, lease.shown = changed_box(lease.shown, mask), mask
            return True, changed

        ran, changed = (await engine.step(lease.session, lease.owner, run, kind)).result
        if changed is None:
            return reply({"ran_prediction": ran, "bbox": None}, b"")
        values = changed.values.astype(lease.dtype)
        box = [[s.start, s.stop] for s in changed.slices]
        told = {"ran_prediction": True, "bbox": box, "dtype": str(values.dtype), "shape": list(values.shape)}
        return reply(told, await run_in_threadpool(pack, values))

    return router


def add(live: Live, lease: Lease, points: list[Point], box: Box | None, run: bool) -> bool:
    """Adds prompts to those that wait; gives them to the session if a prediction is wanted."""
    lease.pending.append((points, box))
    return run and give(live, lease)


def give(live: Live, lease: Lease) -> bool:
    """The prompts that wait become one step of the object."""
    pending, lease.pending = lease.pending, []
    boxes = [box for _, box in pending if box is not None]
    live.session.prompt([point for points, _ in pending for point in points], boxes[-1] if boxes else None)
    return True


def drop_unused(engine: Engine, lease: Lease) -> None:
    """Deletes the session of a lease if nothing was done in it."""
    if not lease.session:
        return
    live = engine.store.get(lease.session, lease.owner)
    if live is not None and all(shown.steps == 1 for shown in live.picture.objects.values()):
        engine.delete(lease.session, lease.owner)
        if all(card.scan != live.scan.entry.id for card in engine.store.cards(lease.owner)):
            engine.library.remove(live.scan.entry.id, lease.owner)
    lease.session = ""
