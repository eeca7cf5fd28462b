"""The drive's memory as the compiled kernel sees it: a bare pointer.

An array would travel from function to function as seven words with a reference to count, and each access would first ask whether
its index counts from the end. Plain Python runs the same functions on the array itself.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model


class Words(types.Type):  # type: ignore[misc]
    """Type of a pointer to int64 words, indexed like an array; without bounds, and without counting from the end."""

    def __init__(self) -> None:
        super().__init__(name="Words")


WORDS = Words()
INDEX = (types.Integer, types.IntEnumMember)


@register_model(Words)
class WordsModel(models.PrimitiveModel):  # type: ignore[misc]
    """An LLVM pointer."""

    def __init__(self, dmm: Any, fe_type: Any):
        super().__init__(dmm, fe_type, dmm.lookup(types.CPointer(types.int64)).get_value_type())


@intrinsic
def borrowed(typing_context: Any, array: Any) -> Any:
    """Pointer to the words of an array; the caller keeps the array alive."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, value=arguments[0]).data

    return WORDS(array), build


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return builder.gep(arguments[0], [index])


@intrinsic
def _load(typing_context: Any, words: Any, index: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments))

    return types.int64(words, index), build


@intrinsic
def _store(typing_context: Any, words: Any, index: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = context.cast(builder, arguments[2], signature.args[2], types.int64)
        builder.store(word, _address(context, builder, signature, arguments))

    return types.void(words, index, value), build


@intrinsic
def _load_float(typing_context: Any, words: Any, index: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(
            builder.load(_address(context, builder, signature, arguments)), context.get_value_type(types.float64)
        )

    return types.float64(words, index), build


@intrinsic
def _prefetch(typing_context: Any, words: Any, index: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), (byte, flag, flag, flag))
        )
        address = builder.bitcast(_address(context, builder, signature, arguments), byte)
        to_write, keep, data = flag(1), flag(3), flag(1)
        builder.call(prefetch, (address, to_write, keep, data))

    return types.void(words, index), build


@overload(operator.getitem, strict=False)
def _getitem(words: Any, index: Any) -> Any:
    if isinstance(words, Words) and isinstance(index, INDEX):
        return lambda words, index: _load(words, index)
    return None


@overload(operator.setitem, strict=False)
def _setitem(words: Any, index: Any, value: Any) -> Any:
    if isinstance(words, Words) and isinstance(index, INDEX):
        return lambda words, index, value: _store(words, index, value)
    return None


def float_at(m: Any, address: int) -> float:
    """The float64 whose bits stand in a word."""
    return float(m[address : address + 1].view(np.float64)[0])


@overload(float_at, strict=False)
def _float_at(m: Any, address: Any) -> Any:
    if isinstance(m, Words):
        return lambda m, address: _load_float(m, address)
    return lambda m, address: m[address : address + 1].view(np.float64)[0]


def fetch_early(m: Any, address: int) -> None:
    """Bring a word near that will be needed in some hundred nanoseconds; it changes nothing but speed."""


@overload(fetch_early, strict=False)
def _fetch_early(m: Any, address: Any) -> Any:
    if isinstance(m, Words):
        return lambda m, address: _prefetch(m, address)
    return lambda m, address: None
