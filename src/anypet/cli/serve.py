"""`anypet serve`: scans in the browser, and for the tools that speak its protocols."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from anypet.cli.pull import open_archive
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from anypet.server.settings import Settings


def serve(
    folder: Annotated[
        Path | None, typer.Argument(help="Scans to offer: a folder of studies, one study, or one file.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        list[str] | None,
        typer.Option(
            envvar="ANYPET_TOKEN", help="SECRET or NAME=SECRET, one for each user; made if not given."
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Web page that may talk to this server, as https://viewer.example."),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Further names under which this server is reached.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Folder for sessions and uploads.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="SUVbw, for files that do not say that they hold SUV.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model, see `anypet models`.")] = "default",
    weights: Annotated[Path | None, typer.Option(help="Weights file in place of the model's own.")] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="cpu, cuda:0, ...; each gets a worker. By default a GPU if there is one."),
    ] = None,
    pacs: Annotated[
        str | None, typer.Option(envvar="ANYPET_PACS", help="DICOM archive to fetch from, and to store in.")
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.001, help="GiB that one request may send.")] = 4.0,
    leases: Annotated[int, typer.Option(min=1, help="Clients of nnInteractive's protocol at a time.")] = 8,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM); then it is https.")] = None,
    key: Annotated[Path | None, typer.Option(help="Key of the certificate (PEM).")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = sys.stdout.isatty(),
) -> None:
    """Opens scans in the browser, and answers 3D Slicer, napari, OHIF and `anypet.connect`.

    The address with its token is printed; who has it can see the scans. Sessions are kept on disk as they
    change. Ctrl-C ends the server when the work in hand is done.
    """
    try:
        import uvicorn

        from anypet.server.app import create_app
        from anypet.server.settings import Settings, default_state
        from anypet.server.uploads import Limits
    except ImportError as error:
        raise AnyPETError(f"{error.name} is not installed; pip install 'anypet[serve]'") from error

    if folder is not None and not folder.exists():
        raise AnyPETError(f"{folder}: no such file or folder")
    console = Console(stderr=True)
    settings = Settings(
        tokens_of(token or [secrets.token_urlsafe(24)]), folder=folder, unit=unit, model=model,
        weights=weights, hosts=(*(host_name or ()), *names_of(host)), origins=tuple(origin or ()),
        devices=tuple(device or [default_device()]), leases=leases, state=state or default_state(),
        limits=Limits(request_bytes=int(max_upload * 2**30)), archive=open_archive(pacs) if pacs else None,
    )  # fmt: skip
    listening = listen(host, port)
    app = create_app(settings)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=10,
        timeout_keep_alive=30,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    scheme = "http" if certificate is None else "https"
    address = address_of(scheme, host, listening.getsockname()[1])
    announce(console, address, settings, encrypted=certificate is not None, opened=not is_loopback(host))
    if browser:
        first = next(iter(settings.tokens))
        threading.Timer(1.0, webbrowser.open, [f"{address}/?token={first}"]).start()
    uvicorn.Server(config).run(sockets=[listening])
    console.print("stopped; the sessions are in", escape(str(settings.state)), soft_wrap=True)


def tokens_of(given: list[str]) -> dict[str, str]:
    """SECRET or NAME=SECRET -> secret and owner.

    Raises:
        AnyPETError: a secret is given twice.
    """
    tokens: dict[str, str] = {}
    for text in " ".join(given).split():
        name, _, secret = text.rpartition("=")
        if secret in tokens:
            raise AnyPETError("the same token is given to two users; each needs one of their own")
        tokens[secret] = name or "user"
    return tokens


def default_device() -> str:
    """A GPU if there is one."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_of(host: str) -> tuple[str, ...]:
    """Names under which a server on this address is reached."""
    if is_loopback(host):
        return ()
    return (host, socket.gethostname(), socket.getfqdn())


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        AnyPETError: the port is taken, or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        raise AnyPETError(f"{host}:{port} cannot be listened on: {error.strerror}; try --port 0") from error
    return listening


def address_of(scheme: str, host: str, port: int) -> str:
    """The address that people open."""
    everywhere = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
    shown = socket.gethostname() if host in everywhere else host
    return f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"


def announce(console: Console, address: str, settings: Settings, *, encrypted: bool, opened: bool) -> None:
    """Prints where the server is, and for whom."""
    many = len(settings.tokens) > 1
    for secret, owner in settings.tokens.items():
        console.print(
            f"[bold]{escape(owner) + ': ' if many else ''}{address}/?token={secret}[/]", soft_wrap=True
        )
    secret = next(iter(settings.tokens))
    console.print(f"nnInteractive (3D Slicer, napari): {address}   API key: {secret}", soft_wrap=True)
    console.print(f"MONAI Label (3D Slicer, OHIF): {address}/t/{secret}/", soft_wrap=True)
    console.print(f'Python: anypet.connect("{address}", "{secret}")', soft_wrap=True)
    if opened:
        console.print(
            "[yellow]Open to the network: whoever has a token sees patients' scans"
            f"{'' if encrypted else ', and the connection is not encrypted (--certificate, --key)'}.[/]",
            soft_wrap=True,
        )
