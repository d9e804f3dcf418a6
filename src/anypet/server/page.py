"""The page: its files, the cookie that stands for the token, and the list of addresses."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from anypet.server.security import COOKIE

STATIC = Path(__file__).parent / "static"
_PLAIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>AnyPET</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.2rem .8rem;vertical-align:top}}</style>{body}</html>"""


def add_page(app: FastAPI, static: Path = STATIC) -> None:
    """Adds "/", "/static/..." and "/docs" to the application.

    Args:
        app: with all its other addresses.
        static: folder of the page, with index.html; without it "/" shows the list of addresses.
    """

    @app.get("/", include_in_schema=False)
    def index(request: Request) -> Response:
        """A token in the address becomes a cookie, and is taken out of the address."""
        cookie = getattr(request.state, "cookie", None)
        if cookie is not None:
            answer: Response = RedirectResponse("/", status_code=303)
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure, path="/")
            return answer
        page = static / "index.html"
        return FileResponse(page, media_type="text/html") if page.is_file() else docs()

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """Every address in a table; /openapi.json has them for machines."""
        return HTMLResponse(_PLAIN.format(body=_table(app)))

    if static.is_dir():
        app.mount("/static", _Revisited(directory=static), name="static")


class _Revisited(StaticFiles):
    """Files that a browser keeps, and asks about before it uses them again."""

    def file_response(self, *how: Any, **more: Any) -> Response:
        answer = super().file_response(*how, **more)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _table(app: FastAPI) -> str:
    rows = []
    for path, methods in app.openapi()["paths"].items():
        for method, told in methods.items():
            cells = (method.upper(), path, told.get("description") or told.get("summary") or "")
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return (
        "<h1>AnyPET server</h1><p>The addresses that this server answers; "
        f'<a href="/openapi.json">openapi.json</a> has them for machines.</p><table>{"".join(rows)}</table>'
    )
