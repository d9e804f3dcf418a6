"""What this installation has and lacks: versions, devices, weights, folders, a port; each lack with its fix.

Nothing here needs torch to be importable: an installation that is broken has to be able to say so.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from anypet._version import __version__
from anypet.models import registry

State = Literal["ok", "note", "fault"]

# What people add for what they do; the other extras are for work on AnyPET itself.
DEVELOPERS = ("test", "lint", "docs", "release")
LEAST_MEMORY_GIB = 4.0
LEAST_DISK_GIB = 1.0
STATIC = Path(__file__).parent / "server" / "static"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what, as "torch" or "weights default".
        state: "ok"; "note", something optional is missing or worth knowing; "fault", AnyPET will not work.
        found: in words.
        fix: what to do, "" where there is nothing to do.
    """

    subject: str
    state: State
    found: str
    fix: str = ""


def examine(port: int = 8000) -> list[Finding]:
    """Looks at everything that AnyPET needs on this machine; changes nothing and asks no network.

    Args:
        port: the one that `anypet serve` would listen on.
    """
    try:
        package = metadata.distribution("anypet")
    except metadata.PackageNotFoundError:
        text = f"{__version__} in {Path(__file__).parent}, which pip did not install"
        installed = [Finding("anypet", "fault", text, "pip install anypet, or pip install -e . in a clone")]
    else:
        installed = [*_python(package), *_libraries(package), *_extras(package)]
    return [
        *installed,
        *_devices(),
        _memory(),
        *_weights(),
        _page(),
        *_folders(),
        _port(port),
    ]


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing that is needed is broken."""
    return all(finding.state != "fault" for finding in findings)


def _python(package: metadata.Distribution) -> Iterator[Finding]:
    if package.version == __version__:
        yield Finding("anypet", "ok", f"{__version__} in {Path(__file__).parent}")
    else:
        text = f"{__version__} in {Path(__file__).parent}, but pip installed {package.version}"
        yield Finding("anypet", "note", text, "install it again")
    wanted = str(package.metadata["Requires-Python"])
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        yield Finding("python", "ok", version)
    else:
        yield Finding("python", "fault", version, f"make an environment with Python {wanted}")


def _requirements(package: metadata.Distribution, extra: str = "") -> list[Requirement]:
    """What is needed in any case; or what an extra adds, those of the extras that it names included."""
    found = []
    for line in package.requires or []:
        wanted = Requirement(line)
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if not extra:
            found += [wanted] if always else []
        elif not always and wanted.marker is not None and wanted.marker.evaluate({"extra": extra}):
            if wanted.name == "anypet":
                found += [inner for name in wanted.extras for inner in _requirements(package, name)]
            else:
                found.append(wanted)
    return found


def _lack(wanted: Requirement) -> str:
    """What is wrong with a library, "" if nothing is."""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted.name} is {version}, needed is {wanted.specifier}"
    return ""


def _libraries(package: metadata.Distribution) -> Iterator[Finding]:
    """The libraries that AnyPET cannot do without."""
    needed = _requirements(package)
    faults = [(wanted, lack) for wanted in needed if (lack := _lack(wanted))]
    for wanted, lack in faults:
        yield Finding(wanted.name, "fault", lack, f"pip install '{wanted.name}{wanted.specifier}'")
    if not faults:
        shown = ("numpy", "scipy", "nibabel", "pydicom", "highdicom", "SimpleITK")
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in shown)
        yield Finding("libraries", "ok", f"all {len(needed)} of them: {versions}, ...")


def _extras(package: metadata.Distribution) -> Iterator[Finding]:
    """The optional libraries, by the name that pip knows them under."""
    for extra in package.metadata.get_all("Provides-Extra") or []:
        if extra in DEVELOPERS:
            continue
        lacks = [lack for wanted in _requirements(package, extra) if (lack := _lack(wanted))]
        if lacks:
            yield Finding(f"extra {extra}", "note", "; ".join(lacks), f"pip install 'anypet[{extra}]'")
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _devices() -> Iterator[Finding]:
    """The processor, and each GPU with its precision."""
    try:
        torch = importlib.import_module("torch")
        from anypet.devices import has_bfloat16
    except (ImportError, OSError) as error:  # a library of CUDA that is not there is an OSError
        yield Finding(
            "torch", "fault", f"cannot be imported: {error}", "pip install --force-reinstall 'torch>=2.6'"
        )
        return
    yield Finding("torch", "ok", str(torch.__version__))
    words = "float32 and bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    yield Finding("device cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {words}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            words = "float32 and bfloat16" if has_bfloat16(torch.device("cuda", number)) else "float32"
            text = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, {words}"
            yield Finding(f"device cuda:{number}", "ok", text)
    elif torch.version.cuda:
        text = f"torch is built for CUDA {torch.version.cuda} and sees no GPU"
        yield Finding("device cuda", "note", text, "where there is one: nvidia-smi has to list it")
    elif shutil.which("nvidia-smi"):
        text = "there is an NVIDIA driver, but this torch is built without CUDA"
        yield Finding("device cuda", "note", text, "install torch as pytorch.org says for your CUDA")
    if torch.backends.mps.is_available():
        yield Finding("device mps", "ok", "Apple GPU, float32")


def _memory() -> Finding:
    """Memory of the machine; what is free of it where the system says so."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "note", "the system does not say how much there is")
    text = f"{total:.1f} GiB"
    free = total
    reading = Path("/proc/meminfo")
    if reading.is_file():
        lines = dict(line.split(":", 1) for line in reading.read_text(encoding="ascii").splitlines())
        if "MemAvailable" in lines:
            free = int(lines["MemAvailable"].split()[0]) / 2**20
            text += f", {free:.1f} GiB of it free"
    if free < LEAST_MEMORY_GIB:
        fix = f"whole-body scans want {LEAST_MEMORY_GIB:.0f} GiB: close other programs"
        return Finding("memory", "note", text, fix)
    return Finding("memory", "ok", text)


def _weights() -> Iterator[Finding]:
    """Every weights file that a model has here against the checksum that it was given."""
    absent = []
    try:
        entries = registry.available()
    except registry.WeightsError as error:
        yield Finding("weights", "fault", str(error), "mend or delete the file that is named")
        return
    for entry in entries:
        again = "install AnyPET again" if entry.packaged else "`anypet models add` or `fetch` it again"
        if entry.file is None and not entry.packaged:
            absent.append(entry.name)
        elif entry.file is None or not entry.file.is_file():
            yield Finding(f"weights {entry.name}", "fault", "the file is missing", again)
        elif (found := _sha256(entry.file)) != entry.sha256:
            text = f"{entry.file} is damaged or was replaced: its SHA-256 is {found[:16]}..."
            yield Finding(f"weights {entry.name}", "fault", text, again)
        else:
            text = f"{'packaged' if entry.packaged else entry.file}, checksum {found[:16]}... agrees"
            yield Finding(f"weights {entry.name}", "ok", text)
    if absent:
        text = f"not on this machine: {', '.join(absent)}"
        yield Finding("other weights", "note", text, "where wanted: anypet models fetch NAME")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _page() -> Finding:
    parts = ("index.html", "js", "css", "vendor")
    lacks = [part for part in parts if not (STATIC / part).exists()]
    if lacks:
        text = f"{', '.join(lacks)} missing from {STATIC}"
        return Finding("page of serve", "fault", text, "install AnyPET again")
    return Finding("page of serve", "ok", "packaged")


def _folders() -> Iterator[Finding]:
    """The folders that AnyPET writes to: weights and sessions, and those of the libraries' caches."""
    home = registry.home()
    yield _writable("folder of weights and sessions", home, "set ANYPET_HOME to a folder of yours")
    yield _writable("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder of yours")


def _writable(subject: str, folder: Path, fix: str) -> Finding:
    """Whether a folder, or the nearest one above it that exists, can be written to, and its free space."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free / 2**30
    except OSError as error:
        return Finding(subject, "fault", f"{folder} cannot be written to: {error.strerror}", fix)
    text = f"{folder}, {free:.1f} GiB free"
    if free < LEAST_DISK_GIB:
        return Finding(subject, "note", text, fix)
    return Finding(subject, "ok", text)


def _port(port: int) -> Finding:
    """Whether `anypet serve` could listen there."""
    subject = f"port {port}"
    with socket.socket() as listening:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            fix = "anypet serve --port 0 takes a free one"
            return Finding(subject, "note", f"cannot be listened on: {error.strerror}", fix)
    return Finding(subject, "ok", "free for anypet serve")
