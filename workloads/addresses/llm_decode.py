"""The addresses of language-model decoding: weights streamed for every token, the KV cache read and extended."""

from dataclasses import dataclass

import numpy as np

from tiergarten.sim.trace import AddressTrace, Int
from tiergarten.workloads.addresses import address_patterns


@address_patterns.register("llm_decode")
@dataclass(frozen=True)
class LlmDecode:
    """Per token and layer: all weights read in order, all earlier keys and values read in order, one token's written.

    Bytes per token at context c: layers·(weights + c·kv) read, layers·kv written; read share near 1; every weight's
    reuse distance is the bytes of one token's pass. Nothing is random: the seed changes nothing. Weights lie first, then
    each layer's KV in a row of its own with room for all tokens. A stand-in for a real trace when only sizes are known.
    """

    layers: int = 4
    weight_bytes_per_layer: int = 1 << 18
    kv_bytes_per_token_layer: int = 256
    prompt_tokens: int = 128
    tokens: int = 8
    block_bytes: int = 64
    gap_ticks: int = 1

    def __post_init__(self) -> None:
        if min(self.layers, self.tokens, self.block_bytes) < 1 or min(self.prompt_tokens, self.gap_ticks) < 0:
            raise ValueError(f"{self}: sizes must be positive")
        if self.weight_bytes_per_layer % self.block_bytes or self.kv_bytes_per_token_layer % self.block_bytes:
            raise ValueError(f"{self}: weights and KV per token must be whole blocks of {self.block_bytes} bytes")

    def generate(self, seed: int) -> AddressTrace:
        """The same trace for every seed."""
        pieces: list[Int] = []
        writes: list[bool] = []
        weights, kv = (n // self.block_bytes for n in (self.weight_bytes_per_layer, self.kv_bytes_per_token_layer))
        room = (self.prompt_tokens + self.tokens) * kv
        for context in range(self.prompt_tokens, self.prompt_tokens + self.tokens):
            for layer in range(self.layers):
                cache = self.layers * weights + layer * room
                reads = (np.arange(weights) + layer * weights, np.arange(context * kv) + cache)
                pieces += [*reads, np.arange(kv) + cache + context * kv]
                writes += [False, False, True]
        blocks = np.concatenate(pieces).astype(np.int64)
        is_write = np.repeat(np.array(writes, np.bool_), [len(piece) for piece in pieces])
        ticks = np.arange(len(blocks), dtype=np.int64) * self.gap_ticks
        return AddressTrace(ticks, blocks * self.block_bytes, is_write, np.full(len(blocks), -1, np.int64))
