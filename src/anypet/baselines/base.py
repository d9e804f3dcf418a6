"""What an adaptor is: a name, a licence, where the weights are had, and a function that loads them.

Loading gives systems of two kinds. Those that take clicks, or see the truth to place them, are the
evaluation's own `System`. Those that segment what they were trained for from the scan alone are `Automatic`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError, WeightsError
from anypet.evaluation.protocol import System
from anypet.volume import Volume

Kind = Literal["own", "classical", "promptable", "slices", "automatic", "text"]


@dataclass(frozen=True)
class Automatic:
    """A loaded system that needs no prompt.

    Args:
        name: as it stands in tables.
        segment: from a scan to kind of target ("liver", "lesion") -> (I, J, K) bool on the scan's grid.
            Kinds that it does not know are not in the mapping; their spelling is free (`names.canonical`).
        classes: the kinds that it knows, so that scans without them need not be looked at; None where only
            the mapping tells.
    """

    name: str
    segment: Callable[[Volume], Mapping[str, BoolArray]]
    classes: tuple[str, ...] | None = None


Loaded = Sequence[System | Automatic]


@dataclass(frozen=True)
class Baseline:
    """A system that the papers compare with.

    Args:
        name: what `--models` and `--weights` take.
        kind: how it is prompted: by clicks in 3D, slice by slice, not at all, or by words.
        summary: one line: what it is, and its paper.
        licence: of code and weights, as far as the publishers say.
        weights: how they are had; "" where none are needed.
        loader: "module:function" in this package; the function takes weights and device and gives `Loaded`.
            "" where no code can be run; then `refusal` says why.
        packages: modules that must be there, and `extra`, what installs them ("pip install 'anypet[...]'").
        refusal: why it is only listed, with what was tried.
        sha256: of the weights, where the publisher states it.
        options: further arguments of the loader.
        image: what its systems are shown: the PET in SUVbw, or the CT in HU on the PET's grid.
    """

    name: str
    kind: Kind
    summary: str
    licence: str
    weights: str = ""
    loader: str = ""
    packages: tuple[str, ...] = ()
    extra: str = ""
    refusal: str = ""
    sha256: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    image: Literal["PET", "CT"] = "PET"

    def check_packages(self) -> None:
        """Raises AnyPETError unless all packages that the code runs on are there."""
        for package in self.packages:
            need(package, self.name, self.extra)

    def _installed(self) -> bool:
        """Whether `anypet models` has fetched or added weights under this name."""
        from anypet.models.registry import entry

        model = self.name.removesuffix("-ct")  # the same network, shown the CT
        return self.options.get("model") == model and entry(model).ready

    def load(self, weights: Path | None = None, device: str = "cpu") -> Loaded:
        """The systems, ready to run.

        Raises:
            AnyPETError: no code can be run, or a package is missing; the message says how to get it.
            WeightsError: no weights were given, they are not there, or they are of another network.
        """
        if self.refusal:
            raise AnyPETError(f"{self.name} is only listed: {self.refusal}")
        if self.weights and weights is None and not self._installed():
            raise WeightsError(f"{self.name} has no weights here: {self.weights}")
        if weights is not None and not weights.exists():
            raise WeightsError(f"{self.name}: {weights} does not exist; {self.weights}")
        self.check_packages()
        if self.sha256 and weights is not None and fingerprint(weights) != self.sha256:
            raise WeightsError(
                f"{self.name}: {weights} has SHA-256 {fingerprint(weights)}, published is {self.sha256}; "
                "it is damaged or another file: fetch it again"
            )
        module, function = self.loader.split(":")
        load = getattr(importlib.import_module(f"anypet.baselines.{module}"), function)
        loaded: Loaded = load(weights, device, **self.options)
        return loaded


def need(package: str, name: str, extra: str) -> Any:
    """Imports a package that a system runs on.

    Raises:
        AnyPETError: it is missing, or does not fit what is installed; the message says what installs it.
    """
    try:
        with hidden_if_broken("torchvision"):
            return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:
        raise AnyPETError(
            f"{name} runs on the package {package}, which cannot be imported ({error}): {extra}"
        ) from error


class hidden_if_broken:  # noqa: N801 - used as a `with` statement
    """Within it, a package that cannot be imported is as if it were not installed.

    A torchvision of another build of torch fails at import with a RuntimeError, which packages that could do
    without it do not catch.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._hidden = False

    def __enter__(self) -> None:
        import sys

        try:
            importlib.import_module(self._package)
        except (ImportError, RuntimeError):
            self._hidden = self._package not in sys.modules
            if self._hidden:
                sys.modules[self._package] = None  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        import sys

        if self._hidden:
            del sys.modules[self._package]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and SHA-256 of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file_path.relative_to(path).as_posix()}\0{fingerprint(file_path)}\n".encode())
    return digest.hexdigest()
