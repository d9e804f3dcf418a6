"""AnyPET compact, the default family."""

from anypet.models.compact.model import CompactModel, build
from anypet.models.compact.network import CompactConfig, CompactNet

__all__ = ["CompactConfig", "CompactModel", "CompactNet", "build"]
