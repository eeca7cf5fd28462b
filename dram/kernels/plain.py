"""Arrays whose indices numba takes as they are.

numba turns a negative index into one from the end, at the price of a comparison and a select before every access. Kernels
that index by offsets, all of them within bounds, spend a third of their instructions on that.
"""

import operator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model, type_callable
from numba.np.arrayobj import load_item, make_array, store_item


class PlainArray(types.Array):
    """numba's type of an array whose indices are never negative."""

    def __init__(self, array: types.Array):
        super().__init__(array.dtype, array.ndim, array.layout, not array.mutable, f"plain {array.name}", array.aligned)


register_model(PlainArray)(models.ArrayModel)


def plain(array: Any) -> Any:
    """The same array, indexed without regard to negative indices once compiled."""
    return array


@type_callable(plain)
def _type_of_plain(_: Any) -> Any:
    return lambda array: array if isinstance(array, PlainArray) else PlainArray(array)


@lower_builtin(plain, types.Array)
def _same(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return arguments[0]


def _place(context: Any, builder: Any, array_type: Any, value: Any, index_types: Any, indices: Any) -> Any:
    """Address of an element."""
    array = make_array(array_type)(context, builder, value)
    shape = cgutils.unpack_tuple(builder, array.shape, array_type.ndim)
    strides = cgutils.unpack_tuple(builder, array.strides, array_type.ndim)
    places = [context.cast(builder, *pair, types.intp) for pair in zip(indices, index_types, strict=True)]
    return cgutils.get_item_pointer2(context, builder, array.data, shape, strides, array_type.layout, places)


def _split(builder: Any, index_type: Any, index: Any) -> tuple[Any, Any]:
    """Types and values of the indices by dimension."""
    if isinstance(index_type, types.BaseTuple):
        return index_type.types, cgutils.unpack_tuple(builder, index)
    return [index_type], [index]


@lower_builtin(operator.getitem, PlainArray, types.Integer)
@lower_builtin(operator.getitem, PlainArray, types.BaseTuple)
def _get(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array_type, index_type = signature.args
    place = _place(context, builder, array_type, arguments[0], *_split(builder, index_type, arguments[1]))
    return load_item(context, builder, array_type, place)


@lower_builtin(operator.setitem, PlainArray, types.Integer, types.Any)
@lower_builtin(operator.setitem, PlainArray, types.BaseTuple, types.Any)
def _set(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    array_type, index_type, value_type = signature.args
    place = _place(context, builder, array_type, arguments[0], *_split(builder, index_type, arguments[1]))
    store_item(context, builder, array_type, context.cast(builder, arguments[2], value_type, array_type.dtype), place)
