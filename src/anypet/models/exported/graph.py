"""A part of a network as a file that OpenVINO runs: written from torch, run on torch tensors."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anypet.errors import WeightsError

Precision = Literal["f32", "bf16"]


def openvino() -> ModuleType:
    """OpenVINO without its telemetry.

    As installed it reports every import and every conversion to its makers. It does without where the package
    `openvino_telemetry` cannot be imported, which is what None in `sys.modules` brings about.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino as found

    return found  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a network that is exported by itself.

    Args:
        name: of its file, without the suffix.
        module: tensors in, a tensor or a tuple of them out; in evaluation mode, float32, on the CPU.
        example: what it is traced with.
        shapes: of its inputs; -1 where a size may be any.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    shapes: tuple[tuple[int, ...], ...]

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.xml (the graph) and NAME.bin (its weights, float32) -> the two files."""
        ov = openvino()
        with torch.inference_mode(), warnings.catch_warnings():
            # sizes become constants, which is wanted: `shapes` says which may vary, and results are compared
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # of the tracer itself
            model = ov.convert_model(self.module, example_input=self.example)
        model.reshape(dict(enumerate(self.shapes)))
        path = folder / f"{self.name}.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return [path, path.with_suffix(".bin")]


class Graph(nn.Module):
    """An exported piece in the place of the module it was made from; CPU alone, for inference alone.

    It uses as many threads as torch does when it is made. Calls from several threads take turns.

    Args:
        path: NAME.xml, with NAME.bin beside it.
        precision: what it computes in; "bf16" where the torch network would run in bfloat16 too.

    Raises:
        WeightsError: OpenVINO cannot read the file.
    """

    def __init__(self, path: Path, precision: Precision = "f32") -> None:
        super().__init__()
        ov = openvino()
        # without the hint OpenVINO takes bfloat16 by itself wherever the processor has it
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._compiled: Any = ov.Core().compile_model(os.fspath(path), "CPU", hints)
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: OpenVINO {ov.__version__} cannot read it: {str(error).strip()[:200]}; "
                "export the model again, or set ANYPET_RUNTIME=torch"
            ) from error
        self._turn = threading.Lock()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors of the piece's shapes -> its outputs, float32."""
        arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
        with self._turn:
            # the arrays that it gives are its own, and so ours to keep
            found = self._compiled(arrays, share_inputs=True, share_outputs=False)
        return tuple(torch.from_numpy(array) for array in found.values())
