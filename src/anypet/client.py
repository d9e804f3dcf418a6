"""`connect`: to a session on a server, and the requests behind it. No torch in here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from anypet.errors import AnyPETError, PromptError
from anypet.volume import Volume

if TYPE_CHECKING:
    import httpx

    from anypet.remote import RemoteSession

Json = dict[str, Any]
_LONG_S = 600.0
_KEPT_S = 2.0  # uvicorn closes idle connections after 5 s; a request must not meet that end


def connect(
    url: str,
    token: str | None = None,
    scan: str | os.PathLike[str] | Volume | None = None,
    *,
    session: str | None = None,
    http: httpx.Client | None = None,
) -> RemoteSession:
    """A session on a server that `anypet serve` started.

    Args:
        url: the server's address; the one that it prints, with its token, will do.
        token: the server's token, where the address does not hold it.
        scan: id or name of a scan that the server has, a file or DICOM folder of this machine to send, or a
            volume in SUVbw. None takes the server's only scan.
        session: id of a session to go on with, in place of a new one.
        http: a client to use in place of a new one.

    Raises:
        AnyPETError: the server cannot be reached or refuses; the message is the server's.
    """
    from anypet.remote import RemoteSession

    server = Server(url, token, http)
    if session is not None:
        return RemoteSession(server, server.get(f"/api/sessions/{session}"))
    key = server.scan(scan)
    return RemoteSession(server, server.post("/api/sessions", {"scan": key}))


class Server:
    """Requests to one server.

    Args:
        url, token, http: as for `connect`.
    """

    def __init__(self, url: str, token: str | None = None, http: httpx.Client | None = None) -> None:
        try:
            import httpx
        except ImportError as error:
            raise AnyPETError("httpx is not installed; pip install 'anypet[serve]'") from error

        parts = urlsplit(url)
        token = token or parse_qs(parts.query).get("token", [""])[0]
        base = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        timeout = httpx.Timeout(60.0, read=_LONG_S, write=_LONG_S)
        limits = httpx.Limits(keepalive_expiry=_KEPT_S)
        self._http = http or httpx.Client(base_url=base, timeout=timeout, limits=limits)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._errors = httpx.HTTPError
        self.url = base

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, method: str, path: str, **what: Any) -> httpx.Response:
        """One request.

        Raises:
            AnyPETError: no answer, or one that refuses.
        """
        try:
            answer = self._http.request(method, path, headers=self._headers, **what)
        except self._errors as error:
            raise AnyPETError(f"{self.url} does not answer: {error}; is the server running?") from error
        if answer.is_success:
            return answer
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = answer.text[:200]
        kind = PromptError if answer.status_code == 422 else AnyPETError
        raise kind(f"{self.url}: {detail} (HTTP {answer.status_code})")

    def get(self, path: str, **params: Any) -> Any:
        """JSON from an address."""
        return self.send("GET", path, params={k: v for k, v in params.items() if v is not None}).json()

    def post(self, path: str, body: Any = None) -> Any:
        """JSON to an address -> its answer's."""
        return self.send("POST", path, json=body or {}).json()

    def scan(self, scan: str | os.PathLike[str] | Volume | None) -> str:
        """The id of a scan on the server; sends it if it is on this machine.

        Raises:
            AnyPETError: there is no such scan, or not exactly one where none is named.
        """
        if isinstance(scan, Volume):
            return self._send_volume(scan)
        known = self.get("/api/scans")
        if scan is None:
            if len(known) == 1:
                return str(known[0]["id"])
            raise AnyPETError(
                f"the server has {len(known)} scans; name one: {', '.join(s['name'] for s in known)}"
            )
        for one in known:
            if str(scan) in (one["id"], one["name"]):
                return str(one["id"])
        path = Path(scan).expanduser()
        if path.exists():
            return self.upload(path)
        names = ", ".join(one["name"] for one in known)
        raise AnyPETError(f"{scan}: not on this machine, and not one of the server's scans ({names})")

    def upload(self, path: Path) -> str:
        """Sends a file, or the files of a DICOM folder -> id of the scan."""
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        opened = [p.open("rb") for p in files]
        try:
            parts = [("files", (p.name, file)) for p, file in zip(files, opened, strict=True)]
            told = self.send("POST", "/api/scans", files=parts, params={"name": path.name}).json()
        finally:
            for file in opened:
                file.close()
        return str(told["id"])

    def _send_volume(self, volume: Volume) -> str:
        from anypet.formats import save

        folder = Path(tempfile.mkdtemp(prefix="anypet-"))
        try:
            save(volume, folder / "scan.nii.gz")
            return self.upload(folder / "scan.nii.gz")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
