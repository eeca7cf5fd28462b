"""A randomly initialised Llama-like decoder whose keys and values lie on the device, or on the host and visit layer by layer.

The layer is that of Llama 3 (Grattafiori et al., 2024): RMSNorm, grouped-query attention with rotary embedding, gated SiLU.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

PLACEMENTS: Final = ("device", "host_waiting", "host_overlapped")
"""Keys and values on the device; on the host, copied in when a layer needs them; or while the layer before it computes."""


EPSILON: Final = 1e-5


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.hidden // self.heads

    def projections(self) -> tuple[tuple[int, int], ...]:
        """(n, k) of the matrices of one layer: query-key-value, output, gate and up, down."""
        qkv = self.hidden + 2 * self.kv_heads * self.head_size
        return (qkv, self.hidden), (self.hidden, self.hidden), (2 * self.inner, self.hidden), (self.hidden, self.inner)

    def kv_bytes_per_layer(self, batch: int, tokens: int) -> int:
        """Keys and values of one layer in a 16-bit format."""
        return 2 * batch * self.kv_heads * tokens * self.head_size * 2


class Decoder:
    """Weights, and a decode step over them."""

    def __init__(self, shape: DecoderShape, device: torch.device, dtype: torch.dtype, seed: int):
        generator = torch.Generator(device).manual_seed(seed)

        def matrix(n: int, k: int) -> torch.Tensor:
            # drawn in float32 whatever the format, so that a float64 twin of the model differs by rounding only
            drawn = torch.randn(n, k, device=device, generator=generator) * k**-0.5
            return drawn.to(torch.bfloat16).to(dtype)

        self.shape, self.device, self.dtype = shape, device, dtype
        self.layers = [[matrix(n, k) for n, k in shape.projections()] for _ in range(shape.layers)]
        self.embedding = matrix(shape.vocabulary, shape.hidden)
        self.head = matrix(shape.vocabulary, shape.hidden)
        pair = torch.arange(0, shape.head_size, 2, device=device, dtype=torch.float64)
        self._frequencies = 500000.0 ** (-pair / shape.head_size)

    def step(self, tokens: torch.Tensor, cache: "KvCache", position: int) -> torch.Tensor:
        """Logits [B, V] of the next token; writes this token's keys and values at `position`."""
        shape, size = self.shape, self.shape.head_size
        batch = len(tokens)
        angle = position * self._frequencies
        cosine, sine = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        x = self.embedding[tokens]
        cache.begin(position)
        for layer, (qkv, out, gate_up, down) in enumerate(self.layers):
            projected = _norm(x) @ qkv.T
            q, k, v = projected.split((shape.hidden, shape.kv_heads * size, shape.kv_heads * size), dim=-1)
            q, k = (_rotated(t.view(batch, -1, 1, size), cosine, sine) for t in (q, k))
            keys, values = cache.visit(layer, position, k, v.view(batch, -1, 1, size))
            attended = functional.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
            cache.leave(layer)
            x = x + attended.reshape(batch, shape.hidden) @ out.T
            gate, up = (_norm(x) @ gate_up.T).chunk(2, dim=-1)
            x = x + (functional.silu(gate) * up) @ down.T
        return _norm(x) @ self.head.T


def _norm(x: torch.Tensor) -> torch.Tensor:
    """RMSNorm without a weight; epsilon as in Llama 3."""
    return functional.rms_norm(x, x.shape[-1:], eps=EPSILON)


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of the two halves of the last dimension."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cosine - high * sine, low * sine + high * cosine), dim=-1)


class KvCache:
    """Keys and values of all layers, [2, B, G, T, D] each, filled with random ones up to `context`."""

    def __init__(self, model: Decoder, placement: str, batch: int, context: int, room: int):
        shape = model.shape
        size = (2, batch, shape.kv_heads, context + room, shape.head_size)
        self._on_host = placement != "device"
        self._overlaps = placement == "host_overlapped"
        self._is_cuda = model.device.type == "cuda"
        self._layers = []
        generator = torch.Generator(model.device).manual_seed(batch * context)
        for _ in range(shape.layers):
            drawn = torch.randn(size, device=model.device, generator=generator).to(torch.bfloat16).to(model.dtype)
            self._layers.append(self._to_host(drawn) if self._on_host else drawn)
        buffers = 2 if self._overlaps else 1
        self._buffers = [
            torch.empty(size, device=model.device, dtype=model.dtype) for _ in range(buffers * self._on_host)
        ]
        if self._is_cuda and self._on_host:
            self._compute = torch.cuda.current_stream()
            self._copies = torch.cuda.Stream() if self._overlaps else self._compute
            self._arrived = [torch.cuda.Event() for _ in self._buffers]
            self._free = [torch.cuda.Event() for _ in self._buffers]

    def _to_host(self, drawn: torch.Tensor) -> torch.Tensor:
        host = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=self._is_cuda)
        return host.copy_(drawn)

    def begin(self, position: int) -> None:
        """A step begins: where copies run ahead, the first one starts."""
        self._position = position
        if self._overlaps:
            self._fetch(0)

    def visit(
        self, layer: int, position: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, G, position + 1, D] of a layer on the device, the new ones [B, G, 1, D] among them."""
        if not self._on_host:
            here = self._layers[layer]
        else:
            if not self._overlaps:
                self._fetch(layer)
            here = self._buffers[layer % len(self._buffers)]
            if self._is_cuda and self._overlaps:
                self._compute.wait_event(self._arrived[layer % 2])
            if self._overlaps and layer + 1 < len(self._layers):
                self._fetch(layer + 1)
        here[0, :, :, position : position + 1] = key
        here[1, :, :, position : position + 1] = value
        if self._on_host:  # the new token goes home
            slot = slice(position, position + 1)
            self._layers[layer][0, :, :, slot].copy_(key, non_blocking=True)
            self._layers[layer][1, :, :, slot].copy_(value, non_blocking=True)
        return here[0, :, :, : position + 1], here[1, :, :, : position + 1]

    def leave(self, layer: int) -> None:
        """A layer has read its keys and values: its buffer may be filled anew."""
        if self._is_cuda and self._overlaps:
            self._free[layer % 2].record(self._compute)

    def _fetch(self, layer: int) -> None:
        buffer = self._buffers[layer % len(self._buffers)]
        if not (self._is_cuda and self._overlaps):
            buffer.copy_(self._layers[layer], non_blocking=True)
            return
        with torch.cuda.stream(self._copies):
            # an event that was never recorded does not hold anybody up
            self._copies.wait_event(self._free[layer % 2])
            buffer.copy_(self._layers[layer], non_blocking=True)
            self._arrived[layer % 2].record(self._copies)
