"""Attention on a cube of tokens with the released relative-position bias, plain and with its padding folded.

The published networks attend in windows of 14^3 tokens, but a 128^3 image has only 8^3 of them: as released,
2232 of a window's 2744 tokens are zero padding, and their attention is most of the network's work. All of
those padding tokens have the same key and the same value (the bias of the qkv layer), so that a softmax over
them is one virtual key whose logit is a logarithm of a sum, and that sum has a closed form. `forward_folded`
uses it: the same numbers as `forward` on the padded window, to float32 rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BiasTerms(NamedTuple):
    """The three terms of the relative-position bias of every head, for a window of size S.

    Args:
        d: (B, heads, g, g, g, S) indexed [qd, qh, qw, kw].
        h: (B, heads, g, g, S, S) indexed [qd, qh, kd, kw].
        w: (B, heads, g, g, S, S) indexed [qd, qh, kh, kw].
    """

    d: Tensor
    h: Tensor
    w: Tensor

    def on_keys(self, n: int) -> Tensor:
        """The bias (B, heads, g^3, n^3) of the keys whose three coordinates are below n."""
        hw = self.h[..., :n, None, :n] + self.w[..., None, :n, :n]  # [qd, qh, kd, kh, kw]
        bias = self.d[..., None, None, :n] + hw[:, :, :, :, None]  # [qd, qh, qw, kd, kh, kw]
        return bias.flatten(5, 7).flatten(2, 4)

    def beyond(self, n: int) -> Tensor:
        """Log of the sum of exp(bias) over all keys with any coordinate at or above n: (B, heads, g^3, 1).

        With A = sum over kd of exp(h), B = sum over kh of exp(w), either over the first n (in) or the rest
        (out), each column kw < n lacks A_in * B_in of A * B, which leaves A * B_out + A_out * B_in: sums of
        positive terms only, so nothing cancels.
        """
        a_in, a_out = self.h[..., :n, :].logsumexp(-2), self.h[..., n:, :].logsumexp(-2)
        b_in, b_out = self.w[..., :n, :].logsumexp(-2), self.w[..., n:, :].logsumexp(-2)
        a_all, b_all = torch.logaddexp(a_in, a_out), torch.logaddexp(b_in, b_out)
        partly = torch.logaddexp(a_all + b_out, a_out + b_in)[..., :n]
        rows = torch.cat([partly, (a_all + b_all)[..., n:]], dim=-1)  # [qd, qh, kw]
        return (self.d + rows[..., None, :]).logsumexp(-1).flatten(2)[..., None]


class CubeAttention(nn.Module):
    """Multi-head self-attention over a cube of tokens, channels last.

    Args:
        dim: channels.
        heads: number of heads.
        size: tokens along each edge of the window that the relative-position tables are made for.
    """

    def __init__(self, dim: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.size = size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        for axis in "dhw":
            table = nn.Parameter(torch.zeros(2 * size - 1, dim // heads))
            self.register_parameter(f"rel_pos_{axis}", table)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, S, S, S, dim), padding included, S = `size` -> the same shape."""
        q, k, v = self._heads(x)
        bias = self._bias(q, q).on_keys(self.size)
        return self._attend(q.flatten(2, 4), k.flatten(2, 4), v.flatten(2, 4), bias, x.shape)

    def forward_released(self, x: Tensor) -> Tensor:
        """What `forward` gives, by the released code's operations in its order, for comparison: rounded
        alike, bit by bit, where the processor's kernels are the same. Every logit is stored."""
        b, s = len(x), self.size
        qkv = self.qkv(x).reshape(b, s**3, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.flatten(1, 2)  # heads are images of their own
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        grid = q.unflatten(1, (s,) * 3)
        # see `_bias` for the axes: each term has one too few, and the last is the key's kw in all three
        d = torch.einsum("bdhwc,dkc->bdhwk", grid, self._table("d", s))
        h = torch.einsum("bdhwc,hkc->bdhwk", grid, self._table("h", s))
        w = torch.einsum("bdhwc,wkc->bdhwk", grid, self._table("w", s))
        cells = logits.view(-1, s, s, s, s, s, s)
        cells = cells + d[:, :, :, :, None, None] + h[:, :, :, None, :, None] + w[:, :, :, None, None]
        out = cells.view(logits.shape).softmax(-1) @ v
        return self.proj(out.unflatten(0, (b, self.heads)).transpose(1, 2).reshape(x.shape))

    def forward_folded(self, x: Tensor) -> Tensor:
        """The real tokens (B, g, g, g, dim) of one window, g < `size` -> what `forward` gives for them."""
        q, k, v = self._heads(x)
        n = x.shape[1]
        # zero padding enters the qkv layer after the norm, so q, k and v of a padding token are its biases
        q_pad, k_pad, v_pad = self.qkv.bias.view(3, 1, self.heads, 1, -1)
        rows = q_pad[:, :, :, None, None].expand(*q.shape[:4], self.size - n, -1)
        terms = self._bias(q, torch.cat([q, rows], dim=4))

        q, k, v = (t.flatten(2, 4) for t in (q, k, v))
        scale = q.shape[-1] ** -0.5
        virtual = scale * (q @ k_pad.transpose(-1, -2)) + terms.beyond(n)
        # scaled_dot_product_attention adds scale * q.k itself, also for the virtual key; a zero key adds none
        k = torch.cat([k, torch.zeros_like(k_pad).expand(len(k), -1, -1, -1)], dim=2)
        v = torch.cat([v, v_pad.expand(len(v), -1, -1, -1)], dim=2)
        bias = torch.cat([terms.on_keys(n), virtual], dim=-1)
        return self._attend(q, k, v, bias, x.shape)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, g, g, g, dim) -> q, k, v, each (B, heads, g, g, g, dim / heads)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        return qkv.permute(4, 0, 5, 1, 2, 3, 6).unbind(0)

    def _table(self, axis: str, rows: int) -> Tensor:
        """Entry [a, b] is the table's row for the offset a - b: (rows, size, dim / heads)."""
        at = torch.arange(rows)[:, None] - torch.arange(self.size)[None, :] + self.size - 1
        return getattr(self, f"rel_pos_{axis}")[at.to(self.proj.weight.device)]

    def _bias(self, q: Tensor, q_rows: Tensor) -> BiasTerms:
        """The bias as the published networks were trained with.

        Their code adds the three terms of the decomposed bias with one axis too few, which a cube hides:
        for the query (qd, qh, qw) and the key (kd, kh, kw) it adds
            q[qd, qh, qw] . rel_pos_d[qd - kw] + q[qd, qh, kd] . rel_pos_h[qh - kw]
            + q[qd, qh, kh] . rel_pos_w[kh - kw]
        instead of pairing d with d, h with h and w with w. The weights were fitted with it, and the intended
        bias changes the output by more than 1, so this is what "right" means here. `q` is not scaled.

        Args:
            q: (B, heads, g, g, g, c) of the real queries.
            q_rows: (B, heads, g, g, S, c), `q` with the padding's query appended along its last axis.
        """
        n = q.shape[2]
        d = torch.einsum("bnxyzc,xkc->bnxyzk", q, self._table("d", n))
        h = torch.einsum("bnxyjc,ykc->bnxyjk", q_rows, self._table("h", n))
        w = torch.einsum("bnxyjc,jkc->bnxyjk", q_rows, self._table("w", self.size))
        return BiasTerms(d, h, w)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, shape: torch.Size) -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(shape))
