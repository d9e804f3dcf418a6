"""MONAI Label's REST API, so that its 3D Slicer and OHIF plugins work with this server.

An image is a scan of the server, PET and CT under one id (also to be named by its series or study UID);
what is clicked on it is a session like any other, kept on disk, with an object for each label. Clients that
can log in do so with any name and the server's token; those that cannot (OHIF) are given the address
http://HOST/t/TOKEN/.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from anypet._version import __version__
from anypet.errors import AnyPETError, PromptError
from anypet.models.registry import entry as model_entry
from anypet.server import monai_infer as infer
from anypet.server.engine import Engine
from anypet.server.live import Live
from anypet.server.monai_store import FINAL, Datastore
from anypet.server.rest_scans import owner_of, uploaded
from anypet.server.scans import Entry, NotFoundError, Scan
from anypet.server.security import Access
from anypet.server.uploads import discard, suffix_for
from anypet.session import Progress

Json = dict[str, Any]
STRATEGIES = {"first": "The first image without a final label", "random": "Any image without a final label"}


def models_of(engine: Engine) -> Json:
    """The models, as `/info/` tells them."""
    models = {
        infer.CLICKS: {
            "type": "deepgrow", "labels": infer.LABELS, "dimension": 3, "config": {},
            "description": "AnyPET: clicks on a PET in SUVbw",
        }
    }  # fmt: skip
    if "nets" in engine.settings.lesions or model_entry("lesions").ready:
        models[infer.LESIONS] = {
            "type": "segmentation", "labels": {"lesion": 1}, "dimension": 3, "config": {},
            "description": "AnyPET: every lesion of a PET, or PET/CT",
        }  # fmt: skip
    return models


def monailabel_router(engine: Engine, access: Access, store: Datastore) -> APIRouter:
    """The protocol's addresses, right below the server's."""
    router = APIRouter(tags=["MONAI Label"])

    # -- who, and what

    @router.get("/auth/")
    def auth(request: Request) -> Json:
        """Whether a client must log in; not where its address holds the token."""
        return {"enabled": request.state.owner is None, "client_id": "anypet", "realm": "anypet"}

    @router.post("/auth/token")
    async def token(request: Request) -> Json:
        """OAuth2 password form: the password is the server's token, the name does not matter."""
        form = await request.form(max_files=0, max_fields=10)
        secret = str(form.get("password", ""))
        if access.owner(secret) is None:
            raise HTTPException(401, "the password is the token that was printed when the server started")
        return {"access_token": secret, "token_type": "bearer"}

    @router.get("/auth/token/valid")
    def valid() -> Json:
        """Answers only those with a token."""
        return {"valid": True}

    @router.get("/info/")
    def info(request: Request) -> Json:
        """Models, labels, strategies and how much is labelled."""
        return {
            "name": "AnyPET",
            "description": "Promptable segmentation of PET",
            "version": __version__,
            "labels": [infer.BACKGROUND, *infer.LABELS],
            "models": models_of(engine),
            "trainers": {},
            "strategies": {name: {"description": text} for name, text in STRATEGIES.items()},
            "scoring": {},
            "train_stats": {},
            "datastore": store.stats(owner_of(request)),
        }

    @router.post("/activelearning/{strategy}")
    def next_sample(request: Request, strategy: str, params: Json | None = None) -> Json:
        """An image that has no final label yet; {} where all have one."""
        if strategy not in STRATEGIES:
            raise NotFoundError(f"there is no strategy {strategy[:40]!r}; there are {', '.join(STRATEGIES)}")
        left = [e for e in engine.library.entries(owner_of(request)) if FINAL not in store.labels(e)]
        if not left:
            return {}
        entry = left[0] if strategy == "first" else random.choice(left)  # noqa: S311 - no secret
        return {"id": entry.id, "name": f"{entry.id}.nii.gz", "PatientID": entry.name}

    @router.get("/train/")
    @router.delete("/train/")
    def train() -> Json:
        """Nothing is trained here."""
        raise HTTPException(404, "no training is running; models are trained with `anypet train`")

    # -- inference

    @router.post("/infer/{model}")
    async def run(
        request: Request,
        model: str,
        image: str = "",
        session_id: str = "",
        output: Literal["image", "json", "all", "dicom_seg"] | None = None,
    ) -> Response:
        """Clicks (or nothing, for all lesions) on an image -> label map and numbers."""
        owner = owner_of(request)
        if model not in models_of(engine):
            raise NotFoundError(f"there is no model {model[:60]!r}; there are {', '.join(models_of(engine))}")
        if output == "dicom_seg":
            raise AnyPETError("DICOM SEG is not given here; save the session as one, or ask for output=image")
        form = await request.form()
        params = params_of(form)
        entry = await run_in_threadpool(_entry, form, image, session_id, owner)
        scan = await run_in_threadpool(store.scan, entry, owner)
        store.used(entry)
        live = await _session(scan, owner)
        with form_file(form, "label") as label, tempfile.TemporaryDirectory() as folder:

            def work(live: Live) -> tuple[Path, Json]:
                if model == infer.CLICKS:
                    items = [
                        infer.follow(live, asked, None if label is None else infer.mask_from(
                            label, asked.label, params, live.scan.pet))
                        for asked in infer.asked_of(params, live.scan.pet)
                    ]  # fmt: skip
                else:
                    items = [i for name, i in live.session.objects.items() if name.startswith("lesion ")]
                told = infer.told_of(items)
                if model == infer.LESIONS:
                    told["label_names"] = {"lesion": 1}
                return infer.result_file(live, items, params, Path(folder), one=model == infer.LESIONS), told

            if model == infer.LESIONS:
                await _find_lesions(live, owner)
            path, told = (await engine.step(live.id, owner, work, "points")).result
            if output == "json":
                return JSONResponse(told)
            if output == "image":
                head = {"Content-Disposition": f'attachment; filename="{path.name}"'}
                return Response(path.read_bytes(), media_type="application/octet-stream", headers=head)
            body, kind = infer.multipart(told, path)
            return Response(body, media_type=kind)

    def _entry(form: FormData, image: str, session_id: str, owner: str) -> Entry:
        file = form.get("file")
        if isinstance(file, UploadFile):
            return engine.library.upload([(file.filename or "", file.file)], owner, image or None)
        if session_id:
            store.session(store.find(session_id, owner))
            return store.find(session_id, owner)
        return store.find(image, owner)

    async def _session(scan: Scan, owner: str) -> Live:
        for card in engine.store.cards(owner):
            if card.client == "monailabel" and card.scan == scan.entry.id and card.sha256 == scan.sha256:
                return await engine.live(card.id, owner)
        return await engine.create(owner, scan, client="monailabel")

    async def _find_lesions(live: Live, owner: str) -> None:
        if any(name.startswith("lesion ") for name in live.picture.objects):
            return

        def work(live: Live, progress: Progress) -> Json:
            live.session.find_lesions(live.scan.ct, progress=progress, **engine.lesions(live.id))
            return {}

        job = engine.begin(live.id, owner, "lesions", work)
        await asyncio.wrap_future(job.future)

    # -- datastore

    @router.get("/datastore/")
    def datastore(request: Request, output: Literal["all", "train", "stats"] | None = None) -> Any:
        """What there is."""
        owner = owner_of(request)
        if output == "all":
            return {"objects": store.objects(owner)}
        return [] if output == "train" else store.stats(owner)

    @router.put("/datastore/")
    @router.put("/datastore/image")
    async def add_image(request: Request, image: str | None = None) -> Json:
        """Keeps an image that a client sends."""
        files = await uploaded(request, "file")
        entry = await run_in_threadpool(engine.library.upload, files, owner_of(request), image)
        return {"image": entry.id}

    @router.get("/datastore/image")
    def get_image(request: Request, image: str) -> FileResponse:
        """The PET as NIfTI, SUVbw."""
        owner = owner_of(request)
        entry = store.find(image, owner)
        path = store.scan(entry, owner).nifti("pet")
        return FileResponse(path, media_type="application/gzip", filename=f"{entry.id}.nii.gz")

    @router.head("/datastore/image")
    def has_image(request: Request, image: str) -> Response:
        """Whether there is such an image."""
        store.find(image, owner_of(request))
        return Response()

    @router.get("/datastore/image/info")
    def image_info(request: Request, image: str) -> Json:
        """What is known of an image."""
        entry = store.find(image, owner_of(request))
        return {"id": entry.id, "name": entry.name, "ext": ".nii.gz"}

    @router.put("/datastore/label")
    async def put_label(request: Request, image: str, tag: str = FINAL) -> Json:
        """Keeps a label of an image."""
        owner = owner_of(request)
        form = await request.form()
        entry = store.find(image, owner)
        with form_file(form, "label") as path:
            if path is None:
                raise PromptError("the request holds no file in its field 'label'")
            await run_in_threadpool(store.save_label, entry, owner, tag or FINAL, path, params_of(form))
        return {"image": image, "label": entry.id}

    @router.get("/datastore/label")
    def get_label(request: Request, label: str, tag: str = FINAL) -> FileResponse:
        """A label of an image, as NIfTI."""
        entry = store.find(label, owner_of(request))
        path = store.label(entry, tag)
        return FileResponse(path, media_type="application/gzip", filename=f"{entry.id}.nii.gz")

    @router.delete("/datastore/label")
    def delete_label(request: Request, id: Annotated[str, Query()], tag: str) -> Json:  # noqa: A002
        """Deletes a label."""
        store.remove_label(store.find(id, owner_of(request)), tag)
        return {}

    # -- sessions

    @router.put("/session/")
    async def begin(request: Request, uncompress: bool = False, expiry: int = 0) -> Json:
        """Uploads an image, or the files of a study, for a while."""
        files = await uploaded(request, "files")
        entry = await run_in_threadpool(engine.library.upload, files, owner_of(request))
        return {"session_id": entry.id, "session_info": store.begin(entry, expiry)}

    @router.get("/session/{session_id}")
    def tell_session(request: Request, session_id: str, update_ts: bool = False) -> Json:
        """What is known of a session."""
        entry = store.find(session_id, owner_of(request))
        told = store.session(entry)
        if update_ts:
            store.used(entry)
        return told

    @router.delete("/session/{session_id}")
    def end(request: Request, session_id: str) -> Json:
        """Deletes a session with its image."""
        entry = store.find(session_id, owner_of(request))
        told = store.session(entry)
        store.end(entry, owner_of(request))
        return told

    return router


def params_of(form: FormData) -> Json:
    """The JSON in a form's field "params".

    Raises:
        PromptError: no JSON object.
    """
    text = form.get("params") or "{}"
    try:
        params = json.loads(text if isinstance(text, str) else "")
    except ValueError as error:
        raise PromptError(f"params is no JSON: {error}") from error
    if not isinstance(params, dict):
        raise PromptError("params is no JSON object")
    return params


@contextmanager
def form_file(form: FormData, field: str) -> Iterator[Path | None]:
    """A form's file as a file on disk while the context lasts; None without one."""
    given = form.get(field)
    if not isinstance(given, UploadFile):
        yield None
        return
    name = given.filename or ""
    folder = Path(tempfile.mkdtemp(prefix="anypet-"))
    try:
        path = folder / f"{field}{'.bin' if name.endswith('.bin') else suffix_for(name)}"
        with path.open("wb") as file:
            while chunk := given.file.read(2**20):
                file.write(chunk)
        yield path
    finally:
        discard(folder)
