"""Shapes of language models as data: `models/*.yaml` hold the numbers with their sources, this module what follows from them."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field
from ruamel.yaml import YAML

from tiergarten.sim.errors import UnknownNameError, did_you_mean
from tiergarten.sim.params import StrictModel


class ModelShape(StrictModel):
    """A decoder-only transformer with grouped-query attention and gated feed-forward layers, dense or with experts."""

    layers: int = Field(gt=0, le=10_000)
    hidden: int = Field(gt=0, le=1_000_000, description="Width of the residual stream.")
    heads: int = Field(gt=0, le=100_000, description="Query heads.")
    kv_heads: int = Field(gt=0, le=100_000, description="Key and value heads.")
    head_size: int = Field(gt=0, le=100_000)
    feed_forward: int = Field(gt=0, le=10_000_000, description="Width of one feed-forward layer or expert.")
    vocabulary: int = Field(gt=0, le=100_000_000)
    tied_embeddings: bool = Field(False, description="Input and output embeddings are one matrix.")
    qkv_bias: bool = Field(False, description="Query, key and value projections have a bias.")
    experts: int = Field(1, gt=0, le=100_000, description="Feed-forward experts per layer; 1 = dense.")
    active_experts: int = Field(1, gt=0, le=100_000, description="Experts that a token passes.")
    weight_bytes_per_value: float = Field(2, gt=0, le=8, description="Bytes of a weight.")
    kv_bytes_per_value: float = Field(2, gt=0, le=8, description="Bytes of a cached key or value.")

    @property
    def attention_parameters(self) -> int:
        """Projections of one layer."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return 2 * self.hidden * queries + 2 * self.hidden * keys + (queries + 2 * keys if self.qkv_bias else 0)

    @property
    def expert_parameters(self) -> int:
        """Gate, up and down projection of one expert of one layer."""
        return 3 * self.hidden * self.feed_forward

    @property
    def head_parameters(self) -> int:
        """The output embedding."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights: embeddings, layers with their two norms, router, last norm."""
        router = self.hidden * self.experts if self.experts > 1 else 0
        layer = self.attention_parameters + self.experts * self.expert_parameters + router + 2 * self.hidden
        return self.layers * layer + self.hidden + self.head_parameters * (1 if self.tied_embeddings else 2)

    @property
    def weight_bytes(self) -> int:
        """What the model occupies."""
        return round(self.parameters * self.weight_bytes_per_value)

    @property
    def kv_bytes_per_token(self) -> int:
        """Key and value of one token in all layers."""
        return round(2 * self.layers * self.kv_heads * self.head_size * self.kv_bytes_per_value)

    @property
    def token_flops(self) -> int:
        """Matrix products of one token in all layers: two per weight that it passes. The output head is apart."""
        return 2 * self.layers * (self.attention_parameters + self.active_experts * self.expert_parameters)

    @property
    def head_flops(self) -> int:
        """The output head for one token."""
        return 2 * self.head_parameters

    @property
    def pair_flops(self) -> int:
        """Scores and mixture of one query token with one token of its context, in all heads and layers."""
        return 4 * self.layers * self.heads * self.head_size

    def step_weight_bytes(self, tokens: int) -> float:
        """Weights that an iteration over `tokens` tokens reads: layers and output head, and of the experts those that are met.

        Experts are taken to be chosen uniformly: a token misses a given one with probability 1 - active / all.
        """
        met = self.experts * (1 - (1 - self.active_experts / self.experts) ** tokens) if self.experts > 1 else 1
        layer = self.attention_parameters + met * self.expert_parameters
        return (self.layers * layer + self.head_parameters) * self.weight_bytes_per_value


@cache
def model_names() -> tuple[str, ...]:
    """Names of the bundled models."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def model_title(name: str) -> str:
    """One line about a bundled model."""
    return str(_tree(name)["title"])


def model_shape(name: str) -> ModelShape:
    """The bundled model of that name; UnknownNameError with the nearest names otherwise."""
    return ModelShape(**{key: entry["value"] for key, entry in _tree(name)["shape"].items()})


def published_parameters(name: str) -> int:
    """Number of weights that the publisher states, for checking the shape."""
    return int(_tree(name)["parameters"]["value"])


def _tree(name: str) -> dict[str, Any]:
    if name not in model_names():
        raise UnknownNameError(f"unknown model {name!r}. {did_you_mean(name, model_names())}")
    return YAML(typ="safe", pure=True).load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _folder() -> Path:
    return Path(str(files("tiergarten.accelerators"))) / "models"
