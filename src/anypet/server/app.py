"""Puts the server together: the engine, the protocols in front of it, and the guard in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from anypet._version import __version__
from anypet.errors import AnyPETError
from anypet.server.engine import Engine
from anypet.server.metrics import TEXT
from anypet.server.monai_store import Datastore
from anypet.server.monailabel import monailabel_router
from anypet.server.nninteractive import Leases, drop_unused, nninteractive_router
from anypet.server.page import add_page
from anypet.server.rest_pacs import pacs_router
from anypet.server.rest_results import results_router
from anypet.server.rest_scans import scans_router
from anypet.server.rest_sessions import jobs_router, sessions_router
from anypet.server.scans import NotFoundError
from anypet.server.security import Access, Guard
from anypet.server.settings import Settings
from anypet.server.uploads import TooLargeError
from anypet.server.worker import BusyError

log = logging.getLogger(__name__)
SWEEP_S = 15.0
_STATUS = {NotFoundError: 404, TooLargeError: 413, BusyError: 503}


def create_app(settings: Settings) -> FastAPI:
    """The application of a server (ASGI).

    Args:
        settings: see `Settings`.

    Raises:
        AnyPETError: the tokens are unusable, or the folder of the state cannot be written.
    """
    access = Access(settings.tokens)
    engine = Engine(settings)
    leases = Leases(settings.leases, settings.lease_idle_s, settings.lease_liveness_s)
    datastore = Datastore(engine)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        task = asyncio.create_task(_sweep(engine, leases, datastore))
        try:
            yield
        finally:
            task.cancel()
            await run_in_threadpool(engine.stop)

    app = FastAPI(
        title="AnyPET", version=__version__, lifespan=life, docs_url=None, redoc_url=None,
        summary="Promptable segmentation of PET: one session engine, several protocols",
    )  # fmt: skip
    app.state.engine, app.state.leases = engine, leases
    app.add_middleware(
        Guard, access=access, hosts=settings.hosts, origins=settings.origins, limits=settings.limits,
        answered=engine.metrics.answered,
    )  # fmt: skip
    _say_errors(app)
    _add_own(app, engine)
    for router in (scans_router, sessions_router, results_router, jobs_router, pacs_router):
        app.include_router(router(engine))
    app.include_router(nninteractive_router(engine, leases))
    app.include_router(monailabel_router(engine, access, datastore))
    add_page(app)
    return app


def _add_own(app: FastAPI, engine: Engine) -> None:
    @app.get("/healthz", tags=["server"])
    async def healthz() -> dict[str, bool]:
        """Whether the server answers; needs no token."""
        return {"ok": True}

    @app.get("/metrics", tags=["server"])
    def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(engine.metrics.text(), media_type=TEXT)

    @app.get("/api/info", tags=["server"])
    def info() -> dict[str, Any]:
        """What the server is, what it can save, and what may be sent."""
        from anypet.server.exports import exports_for

        model = engine.settings.model
        limits = engine.settings.limits
        return {
            "name": "AnyPET",
            "version": __version__,
            "model": model if isinstance(model, str) else model.spec.name,
            "devices": list(engine.settings.devices),
            "exports": [{"kind": e.kind, "title": e.title, "suffix": e.suffix} for e in exports_for()],
            "limits": {"request_bytes": limits.request_bytes, "files": limits.files},
        }


def _say_errors(app: FastAPI) -> None:
    """Errors as {"detail": text}, in words."""

    @app.exception_handler(AnyPETError)
    async def known(request: Request, error: AnyPETError) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 422)
        headers = {"Retry-After": "10"} if status == 503 else None
        return JSONResponse({"detail": str(error)}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"detail": "; ".join(told)}, 422)

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        log.exception("%s %s", request.method, request.url.path)
        return JSONResponse({"detail": f"the server's disk refuses: {error.strerror}"}, 507)


async def _sweep(engine: Engine, leases: Leases, datastore: Datastore) -> None:
    """Lets go of what is not in use, now and then."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            engine.sweep()
            for lease in leases.lost():
                await run_in_threadpool(drop_unused, engine, lease)
            await run_in_threadpool(datastore.sweep, set(engine.settings.tokens.values()))
        except Exception:
            log.exception("sweeping")
