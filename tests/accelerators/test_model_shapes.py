"""Model shapes give the published numbers of weights, and bytes and flops that can be worked out by hand."""

import pytest

from tiergarten.accelerators.model_shapes import (
    ModelShape,
    model_names,
    model_shape,
    model_title,
    published_parameters,
)
from tiergarten.sim.errors import UnknownNameError

KIB = 1024


@pytest.mark.parametrize("name", model_names())
def test_shape_gives_the_published_number_of_weights(name):
    assert model_shape(name).parameters == published_parameters(name)
    assert model_title(name)


def test_kv_bytes_per_token_are_the_published_ones():
    # vAttention (arXiv 2405.04437), section 2: 128 KiB for Llama-3-8B; 2 x 80 x 8 x 128 x 2 for the 70B models
    assert model_shape("llama-3-8b").kv_bytes_per_token == 128 * KIB
    assert model_shape("llama-3-70b").kv_bytes_per_token == 320 * KIB
    assert model_shape("llama-2-7b").kv_bytes_per_token == 512 * KIB
    assert model_shape("qwen2.5-7b").kv_bytes_per_token == 56 * KIB


def test_dense_flops_are_two_per_weight_that_is_no_embedding_or_norm():
    shape = model_shape("llama-3-8b")
    products = shape.parameters - 2 * shape.head_parameters - (2 * shape.layers + 1) * shape.hidden
    assert shape.token_flops == 2 * products
    assert shape.step_weight_bytes(1) == 2 * (products + shape.head_parameters)


def test_experts_met_grow_with_the_batch_to_all_of_them():
    shape = model_shape("mixtral-8x7b")
    dense = 2 * (shape.layers * shape.attention_parameters + shape.head_parameters)
    one = shape.step_weight_bytes(1) - dense
    assert one == pytest.approx(2 * shape.layers * 2 * shape.expert_parameters)
    assert shape.step_weight_bytes(10_000) - dense == pytest.approx(4 * one)
    # two tokens: each expert is missed with (1 - 2/8)^2
    assert shape.step_weight_bytes(2) - dense == pytest.approx(one * 4 * (1 - 0.75**2))


def test_unknown_model_names_the_nearest():
    with pytest.raises(UnknownNameError, match="llama-3-8b"):
        model_shape("llama-3-8")


def test_smaller_cache_values_halve_the_cache():
    shape = model_shape("llama-3-8b")
    halved = ModelShape(**{**shape.model_dump(), "kv_bytes_per_value": 1})
    assert halved.kv_bytes_per_token * 2 == shape.kv_bytes_per_token
