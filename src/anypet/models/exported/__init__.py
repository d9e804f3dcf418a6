"""Networks exported to OpenVINO, which runs them faster on CPUs, with the same masks."""

from anypet.models.exported.folder import attach, runtime
from anypet.models.exported.graph import Graph, Piece
from anypet.models.exported.write import export

__all__ = ["Graph", "Piece", "attach", "export", "runtime"]
