"""Which expert each prompt asks for."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tiergarten.sim.params import StrictModel


class RoundRobin(StrictModel):
    """Prompt i asks for expert i modulo the number of experts: the worst case for LRU, every expert equally often."""

    name: Literal["round-robin"] = "round-robin"

    def draw(self, num_prompts: int, experts: int, random: np.random.Generator) -> NDArray[np.int64]:
        """int64[num_prompts], expert of each prompt."""
        return np.arange(num_prompts, dtype=np.int64) % experts


class Uniform(StrictModel):
    """Every prompt asks for an expert drawn evenly and independently."""

    name: Literal["uniform"] = "uniform"

    def draw(self, num_prompts: int, experts: int, random: np.random.Generator) -> NDArray[np.int64]:
        """int64[num_prompts], expert of each prompt."""
        return random.integers(experts, size=num_prompts, dtype=np.int64)


class Zipf(StrictModel):
    """Expert k is asked for in proportion to 1 / (k + 1)^exponent, independently."""

    name: Literal["zipf"] = "zipf"
    exponent: float = Field(
        1.0, ge=0, le=10, description="0 = uniform; larger = fewer experts get more of the prompts."
    )

    def probabilities(self, experts: int) -> NDArray[np.float64]:
        """float64[experts], they sum to 1."""
        weights = np.arange(1, experts + 1, dtype=np.float64) ** -self.exponent
        return weights / weights.sum()

    def draw(self, num_prompts: int, experts: int, random: np.random.Generator) -> NDArray[np.int64]:
        """int64[num_prompts], expert of each prompt."""
        return random.choice(experts, size=num_prompts, p=self.probabilities(experts)).astype(np.int64)


Choice = Annotated[RoundRobin | Uniform | Zipf, Field(discriminator="name")]
