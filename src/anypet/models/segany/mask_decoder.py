"""The light half of the network: an image embedding and prompts -> logits of the mask, for every click."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anypet.models.segany.layers import Head, LayerNorm3d
from anypet.models.segany.transformer import TwoWayTransformer


class MaskDecoder(nn.Module):
    """Predicts logits at four times the embedding's resolution.

    Of the four masks that the published weights have tokens for, only mask 0 was ever trained, and so was
    not the head that guesses a mask's IoU: both are here because strict loading needs them, and neither the
    other masks nor that guess are offered to callers.
    """

    MASKS = 4

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.MASKS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm3d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose3d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Head(dim, dim, dim, dim // 8) for _ in range(self.MASKS)
        )
        self.iou_prediction_head = Head(dim, 256, 256, self.MASKS)

    def forward(self, embedding: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor) -> Tensor:
        """Logits (B, 1, 4n, 4n, 4n) of mask 0.

        Args:
            embedding: (B, C, n, n, n) from the image encoder.
            positions: (1, C, n, n, n) positional encoding of its cells.
            sparse: (B, N, C) prompt tokens; N may be 0.
            dense: (B, C, n, n, n) embedding of the previous mask.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        image = (embedding + dense).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(tokens, image, positions.flatten(2).transpose(1, 2))

        features = self.output_upscaling(image.transpose(1, 2).reshape(embedding.shape))
        weights = self.output_hypernetworks_mlps[0](tokens[:, 1])  # token 0 belongs to the IoU head
        return torch.einsum("bc,bcdhw->bdhw", weights, features)[:, None]
