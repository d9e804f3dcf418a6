"""The sizes of the SegAnyPET / SAM-Med3D networks; everything that a checkpoint fixes and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of one network.

    Args:
        image_size: voxels along each edge of the cubic input.
        patch_size: voxels along each edge of a token.
        dim: channels of the image encoder.
        depth: its number of blocks.
        heads: attention heads of each block.
        global_blocks: indices of the blocks that attend to the whole grid; the others attend in windows.
        window: tokens along each edge of a window.
        embed_dim: channels of the image embedding, of the prompts and of the mask decoder.
    """

    image_size: int = 128
    patch_size: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    embed_dim: int = 384

    @property
    def grid(self) -> int:
        """Tokens along each edge of the image embedding."""
        return self.image_size // self.patch_size


# The network of the published SegAnyPET and SAM-Med3D weights: 100,509,232 parameters.
VIT_B_ORI = NetworkConfig()
# A slimmer encoder on twice the field: 36,186,928 parameters.
VIT_B = NetworkConfig(image_size=256, dim=384)

CONFIGS = {"vit_b_ori": VIT_B_ORI, "vit_b": VIT_B}
