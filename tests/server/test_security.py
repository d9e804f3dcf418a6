"""Who may not: without a token, from another site, under another name, with too much, into others' work."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from anypet.errors import AnyPETError
from anypet.server.security import COOKIE, Access, cookie_of
from anypet.server.uploads import Limits
from serving import OTHER, TOKEN, Served, scan_folder, settings

VIEWER = "https://viewer.example"
PATHS = [
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/api/info"),
    ("GET", "/api/scans"),
    ("POST", "/api/scans"),
    ("POST", "/api/sessions"),
    ("GET", "/api/jobs/x"),
    ("POST", "/claim"),
    ("GET", "/capabilities"),
    ("GET", "/info/"),
    ("POST", "/infer/anypet"),
    ("GET", "/datastore/"),
    ("GET", "/auth/token/valid"),
    ("GET", "/nothing/here"),
    ("GET", "/t/"),
    ("GET", "/t/wrong-token-wrong-token/info/"),
    ("OPTIONS", "/api/scans"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    told = settings(
        folder,
        folder=scan_folder(folder),
        origins=(VIEWER,),
        hosts=("pet.hospital.example",),
        limits=Limits(request_bytes=2**20),
    )
    with Served(told) as one:
        yield one


def every_path(served: Served) -> list[tuple[str, str]]:
    """Each address that the server has, with something in the place of ids."""
    found = []
    for route in served.app.openapi()["paths"].items():
        path = route[0].replace("{image}", "pet")
        while "{" in path:
            path = path[: path.index("{")] + "x" + path[path.index("}") + 1 :]
        found += [(method.upper(), path) for method in route[1]]
    return found


def test_nothing_is_told_without_a_token(served: Served) -> None:
    free = {("GET", "/healthz"), ("GET", "/auth/"), ("POST", "/auth/token")}
    paths = [one for one in [*PATHS, *every_path(served)] if one not in free]
    assert len(paths) > 60
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer"},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}={cookie_of('wrong')}"},
        {"Cookie": "=;=;"},
        {"Authorization": "Bearer é"},
        {"X-Lease-Token": "x"},
    ):
        client = served.client(None, **{k: v for k, v in headers.items() if v.isascii()})
        for method, path in paths:
            answer = client.request(method, path, params={"token": TOKEN} if path != "/" else None)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in answer.text


def test_health_and_login_are_free(served: Served) -> None:
    client = served.client(None)
    assert client.get("/healthz").json() == {"ok": True}
    assert client.get("/auth/").json()["enabled"] is True
    assert client.post("/auth/token", data={"username": "x", "password": "wrong"}).status_code == 401
    assert (
        client.post("/auth/token", data={"username": "x", "password": TOKEN}).json()["access_token"] == TOKEN
    )
    assert client.post("/auth/token", files={"password": ("a", b"x" * 100)}).status_code >= 400


def test_a_token_is_taken_as_header_as_cookie_and_in_the_path(served: Served) -> None:
    assert served.client().get("/api/scans").status_code == 200
    client = served.client(None)
    assert client.get(f"/t/{TOKEN}/api/scans").status_code == 200
    assert client.get(f"/t/{TOKEN}/info/").json()["name"] == "AnyPET"
    assert client.get("/api/scans").status_code == 401  # a path gives no cookie, only the page does


def test_the_page_turns_the_token_into_a_cookie(served: Served) -> None:
    client = served.client(None)
    answer = client.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert client.get("/").status_code == 200  # the client has the cookie now
    assert client.get("/api/scans").status_code == 200
    assert served.client(None).get("/", params={"token": "wrong"}).status_code == 401


def raw(served: Served, host: str | None, path: str = "/healthz", **headers: str) -> int:
    """The status of a request with any Host header, or without one."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in {**({} if host is None else {"Host": host}), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:80", 200),
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("[::1]:8000", 200),
        ("10.1.2.3", 200),
        ("pet.hospital.example", 200),
        ("viewer.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:8000", 421),
        ("", 421),
        ("127.0.0.1@evil.example", 421),
        ("pet.hospital.example.", 421),
        ("x" * 2000, 421),
    ],
)
def test_only_names_of_this_server_are_answered(served: Served, host: str, status: int) -> None:
    """DNS rebinding: a page of evil.example, whose name now points at this machine, reaches nothing."""
    assert raw(served, host) == status
    if status != 200:
        assert raw(served, host, "/api/scans", Authorization=f"Bearer {TOKEN}") == status


def test_a_request_without_host_is_refused(served: Served) -> None:
    assert raw(served, None) in (400, 421)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://", VIEWER + ".evil"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_pages_of_other_sites_are_refused_even_with_the_token(
    served: Served, origin: str, method: str
) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = served.client(**headers).request(method, "/api/scans")
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    cookie = served.client(None, Cookie=f"{COOKIE}={cookie_of(TOKEN)}", Origin=origin)
    assert cookie.request(method, "/api/scans").status_code == 403


def test_other_sites_cannot_load_or_embed(served: Served) -> None:
    for mode in ("no-cors", "cors"):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert served.client(**headers).get("/api/scans").status_code == 403
    client = served.client(**{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert client.get("/").status_code == 200  # a link to the page
    for path in ("/", "/api/scans", "/docs", "/healthz"):
        headers = served.client().get(path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_the_page_itself_and_named_origins_may(served: Served) -> None:
    own = served.client(Origin=served.url)
    assert own.get("/api/scans").status_code == 200
    client = served.client(Origin=VIEWER)
    answer = client.get("/api/scans")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
    assert "Access-Control-Allow-Credentials" not in answer.headers
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = served.client(None, Origin=VIEWER, **asked).options("/infer/anypet")
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization"


def test_too_much_is_refused_before_and_while_it_comes(served: Served) -> None:
    client = served.client()
    assert client.post("/api/scans", files={"files": ("a.nii", bytes(2**21))}).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(2**16)

    kind = {"Content-Type": "application/octet-stream"}
    assert client.post("/set_image", content=chunks(), headers=kind).status_code in (410, 413)
    kind = {"Content-Type": "application/json"}
    assert client.post("/api/sessions", content=b" " * (5 * 2**20), headers=kind).status_code == 413

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 2**16

    try:
        answer = client.post("/api/sessions", content=endless(), headers=kind)
        assert answer.status_code == 413
    except httpx.HTTPError:
        pass  # hung up on
    assert raw(served, "localhost", **{"Content-Length": "-5", "Authorization": f"Bearer {TOKEN}"}) == 400
    assert client.get("/healthz").json() == {"ok": True}


def test_who_has_no_token_sends_little(tmp_path: Path) -> None:
    with Served(settings(tmp_path)) as served:  # with a token, 4 GiB
        files = {"password": ("a", bytes(5 * 2**20))}
        assert served.client(None).post("/auth/token", files=files).status_code == 413
        assert served.client().post("/auth/token", files=files).status_code == 400


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"scan": 5}', b'{"scan": {}}', b"\xff\xfe", b'{"a":' * 9999]
)
def test_malformed_json_is_said(served: Served, body: bytes) -> None:
    for path in ("/api/sessions", f"/api/sessions/{'0' * 32}/point"):
        answer = served.client().post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404, 422), answer.text
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x", "text/plain"])
def test_malformed_uploads_are_said(served: Served, kind: str) -> None:
    client = served.client()
    for path in ("/api/scans", "/infer/anypet"):
        answer = client.post(path, content=b"--x\r\nbroken", headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500, (path, answer.text)
    for files in ({"files": ("a.zip", b"PK")}, {"files": ("a.nii.gz", b"\x1f\x8b")}, {"other": ("a", b"")}):
        answer = client.post("/api/scans", files=files)
        assert answer.status_code == 422
        assert "/" not in answer.json()["detail"].replace("and/or", "")


def test_sessions_scans_jobs_and_leases_of_others_are_not_there(served: Served) -> None:
    anna, bo = served.client(), served.client(OTHER)
    path = served.session(anna)
    anna.post(f"{path}/point", json={"point": [24, 20, 30], "space": "voxel"}).raise_for_status()
    calls = [
        ("GET", path, None),
        ("DELETE", path, None),
        ("GET", f"{path}/mask", None),
        ("GET", f"{path}/export/nifti", None),
        ("POST", f"{path}/point", {"point": [1, 1, 1]}),
        ("POST", f"{path}/undo", None),
        ("GET", f"{path}/uncertainty", None),
        ("POST", f"{path}/lesions", None),
        ("POST", f"{path}/text", {"text": "liver"}),
        ("GET", f"{path}/timers", None),
        ("PATCH", f"{path}/objects", {"name": "object 1", "rename": "x"}),
    ]
    for method, address, body in calls:
        assert bo.request(method, address, json=body).status_code == 404, address
    assert bo.get("/api/sessions").json() == []
    assert len(anna.get("/api/sessions").json()) == 1
    assert anna.get(path).json()["objects"][0]["measures"]["voxels"] > 0  # none of it did anything

    sent = anna.post("/api/scans/demo").json()["id"]
    assert sent not in [one["id"] for one in bo.get("/api/scans").json()]
    for method, address in [
        ("GET", f"/api/scans/{sent}"),
        ("DELETE", f"/api/scans/{sent}"),
        ("GET", f"/api/scans/{sent}/pet.nii.gz"),
        ("GET", f"/datastore/image?image={sent}"),
        ("GET", f"/api/scans/{sent}/pet/slab"),
    ]:
        assert bo.request(method, address).status_code == 404
    assert bo.post("/api/sessions", json={"scan": sent}).status_code == 404
    assert bo.post(f"/infer/anypet?image={sent}", data={"params": "{}"}).status_code == 404

    lease = anna.post("/claim").json()["lease_token"]
    assert bo.post("/heartbeat", headers={"X-Lease-Token": lease}).status_code == 410
    assert bo.post("/release", headers={"X-Lease-Token": lease}).json() == {"released": True}
    assert anna.post("/heartbeat", headers={"X-Lease-Token": lease}).status_code == 200

    job = anna.post(f"{path}/text", json={"text": "nonsense"}).json()["id"]
    assert bo.get(f"/api/jobs/{job}").status_code == 404
    assert bo.delete(f"/api/jobs/{job}").status_code == 404


@pytest.mark.parametrize(
    "key", ["..", "%2e%2e%2f", "0" * 31, "0" * 32, "A" * 32, "../" + "0" * 32, "x" * 3000, "%00"]
)
def test_session_ids_are_no_paths(served: Served, key: str) -> None:
    answer = served.client().get(f"/api/sessions/{key}/mask")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


HTML = "<img src=x onerror=alert(1)>\"'&"


def test_html_in_names_is_text(served: Served) -> None:
    client = served.client()
    path = served.session(client)
    client.post(f"{path}/objects", json={"name": HTML}).raise_for_status()
    answer = client.get(path)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["objects"][-1]["name"] == HTML
    answer = client.post(f"{path}/select", json={"name": HTML + "?"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/json")
    assert "<img" not in client.get("/docs").text
    scan = client.get("/api/scans").json()[0]["id"]
    key = client.post("/api/sessions", json={"scan": scan, "name": f"a\r\nX-Evil: 1 {HTML}"}).json()["id"]
    answer = client.get(f"/api/sessions/{key}/export/session")
    assert "x-evil" not in answer.headers
    assert "<" not in answer.headers["Content-Disposition"]
    formula = client.post(f"{path}/objects", json={"name": "=cmd|' /C calc'!A0"})
    formula.raise_for_status()
    client.post(f"{path}/point", json={"point": [24, 20, 30], "space": "voxel"}).raise_for_status()
    table = client.get(f"{path}/export/timers").text
    assert "'=cmd" in table


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "with space and more text", "ümläute-sind-nicht-erlaubt", "a/b" * 9]
)
def test_tokens_that_could_be_guessed_or_cut_are_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(AnyPETError, match="token"):
        Access({token: "user"})
    with pytest.raises(AnyPETError, match="token"):
        Access({})


def test_errors_of_the_server_tell_nothing_of_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(owner: str) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(served.engine.library, "entries", fail)
    answer = served.client().get("/api/scans")
    assert answer.status_code == 507
    assert "/secret" not in answer.text
    assert "space" in json.loads(answer.text)["detail"]
