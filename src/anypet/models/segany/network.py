"""The whole SegAnyPET / SAM-Med3D network; its state dict is that of the published weights, key by key."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from anypet.models.segany.config import CONFIGS, VIT_B_ORI, NetworkConfig
from anypet.models.segany.image_encoder import ImageEncoder
from anypet.models.segany.mask_decoder import MaskDecoder
from anypet.models.segany.prompt_encoder import PromptEncoder


class SegAnyNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Args:
        config: sizes; `VIT_B_ORI` is what the published weights fit.
        fast: see `ImageEncoder`.

    Source: SegAnyPET (arXiv 2502.14351), SAM-Med3D (arXiv 2310.15161), written anew from their description.
    """

    def __init__(self, config: NetworkConfig = VIT_B_ORI, fast: bool = True) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config, fast)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config.embed_dim)

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 1, N, N, N), z-normalised -> embedding (B, C, n, n, n)."""
        return self.image_encoder(image)

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor, previous: Tensor) -> Tensor:
        """Clicks and the logits of the step before -> logits (B, 1, 4n, 4n, 4n).

        Args:
            embedding: (B, C, n, n, n) from `encode`.
            points: (B, N, 3) voxel indices in the image along (D, H, W); N may be 0.
            labels: (B, N) 1 = positive, 0 = negative.
            previous: (B, 1, 4n, 4n, 4n) raw logits, not thresholded, not squashed; zeros at the first.
        """
        positions = self.prompt_encoder.pe_layer.grid(self.config.grid)
        sparse = self.prompt_encoder.sparse(points, labels)
        dense = self.prompt_encoder.dense(previous)
        return self.mask_decoder(embedding, positions, sparse, dense)


def config_of(state_dict: Mapping[str, Tensor]) -> NetworkConfig:
    """Which of the known networks a state dict belongs to, by its positional embedding; else `VIT_B_ORI`."""
    pos = state_dict.get("image_encoder.pos_embed")
    for config in CONFIGS.values():
        if pos is not None and tuple(pos.shape) == (1, *(config.grid,) * 3, config.dim):
            return config
    return VIT_B_ORI
