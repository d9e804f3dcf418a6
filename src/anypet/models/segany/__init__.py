"""SegAnyPET / SAM-Med3D: a 3D vision transformer prompted with clicks; takes the published weights."""

from anypet.models.segany.config import VIT_B, VIT_B_ORI, NetworkConfig
from anypet.models.segany.model import SegAny, build
from anypet.models.segany.network import SegAnyNetwork

__all__ = ["VIT_B", "VIT_B_ORI", "NetworkConfig", "SegAny", "SegAnyNetwork", "build"]
