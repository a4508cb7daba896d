"""The deployed network as data: each convolution as codes, scale and bias in numpy arrays."""

import math
from typing import Any, Literal

import attrs
import numpy as np
import numpy.typing as npt
from attrs import validators

from qat_train.quantizer import code_range

NIBBLE_BITS = 4  # widths up to this are stored as nibbles: ONNX has no narrower type that runtimes read
Storage = Literal["int4", "int8", "float32"]
Pair = tuple[int, int]

_positive = validators.deep_iterable(validators.ge(1))
_natural = validators.deep_iterable(validators.ge(0))


def _of_length(count: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: tuple[int, ...]) -> None:
        if len(value) != count:
            raise ValueError(f"{attribute.name} must hold {count} numbers, found {len(value)}")

    return check


@attrs.frozen(kw_only=True)
class Convolution:
    """Width and geometry of a 2d convolution; `shape` is that of its weight, (C, inputs / groups, height, width).

    `bits` None: the weight is float32. `name` is the path of the trained layer.
    """

    name: str = attrs.field(validator=validators.min_len(1))
    bits: int | None
    shape: tuple[int, ...] = attrs.field(validator=[_of_length(4), _positive])
    bias: bool
    stride: tuple[int, ...] = attrs.field(default=(1, 1), validator=[_of_length(2), _positive])
    padding: tuple[int, ...] = attrs.field(default=(0, 0), validator=[_of_length(2), _natural])
    dilation: tuple[int, ...] = attrs.field(default=(1, 1), validator=[_of_length(2), _positive])
    groups: int = attrs.field(default=1, validator=validators.ge(1))

    def __attrs_post_init__(self) -> None:
        if self.bits is not None:
            code_range(self.bits)
        if self.shape[0] % self.groups:
            raise ValueError(f"{self.name}: {self.shape[0]} output channels are no multiple of {self.groups} groups")

    @property
    def storage(self) -> Storage:
        """What a weight takes in a file."""
        if self.bits is None:
            return "float32"
        return "int4" if self.bits <= NIBBLE_BITS else "int8"

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@attrs.frozen(kw_only=True, eq=False)
class Layer:
    """A convolution with its numbers; batch norm is folded into `scale` and `bias`.

    Attributes:
        convolution: width and geometry.
        values: codes, int8, in the range of the width; without a width the weight, float32. Shape of the weight.
        scale: float32, (C,), of any sign: that of the batch norm stays here, since +8 is no int4; None without a width.
        bias: float32, (C,), or None.
    """

    convolution: Convolution
    values: npt.NDArray[Any] = attrs.field(repr=False)
    scale: npt.NDArray[np.float32] | None = attrs.field(repr=False)
    bias: npt.NDArray[np.float32] | None = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        own = self.convolution
        channels = own.shape[:1]
        self._require("values", self.values, np.float32 if own.bits is None else np.int8, own.shape)
        if (self.scale is None) != (own.bits is None):
            raise ValueError(
                f"{own.name}: a layer of {own.bits} bits {'lacks a' if self.scale is None else 'has a'} scale"
            )
        if (self.bias is not None) != own.bias:
            raise ValueError(f"{own.name}: bias is {own.bias} and {'is missing' if own.bias else 'is there'}")
        for name, array in (("scale", self.scale), ("bias", self.bias)):
            if array is not None:
                self._require(name, array, np.float32, channels)
        if own.bits is not None and self.values.size:
            low, high = code_range(own.bits)
            found = int(self.values.min()), int(self.values.max())
            if found[0] < low or found[1] > high:
                raise ValueError(
                    f"{own.name}: codes from {found[0]} to {found[1]}, {own.bits} bits hold {low} to {high}"
                )

    def _require(self, what: str, array: npt.NDArray[Any], kind: type, shape: tuple[int, ...]) -> None:
        if array.dtype != kind or array.shape != shape:
            raise ValueError(
                f"{self.convolution.name}: {what} are {array.dtype} {array.shape}, {np.dtype(kind)} {shape} is expected"
            )
        if kind is np.float32 and not bool(np.isfinite(array).all()):
            raise ValueError(f"{self.convolution.name}: {what} hold a number that is not finite")

    @property
    def weight(self) -> npt.NDArray[np.float32]:
        """The weight that is convolved with: scale times code, in float32."""
        if self.scale is None:
            return self.values
        return self.values.astype(np.float32) * self.scale[:, None, None, None]


@attrs.frozen(kw_only=True)
class About:
    """Which network it is: whose weights, for which classes, of which architecture (Ultralytics' description)."""

    run_id: str
    method: str
    weights_sha256: str
    variant: str
    names: tuple[str, ...] = attrs.field(validator=validators.min_len(1))
    imgsz: int = attrs.field(validator=validators.ge(32))
    head: Literal["one2one"]
    max_det: int = attrs.field(validator=validators.ge(1))
    class_width: int = attrs.field(validator=validators.ge(1))
    architecture: dict[str, Any]


@attrs.frozen(kw_only=True, eq=False)
class Network:
    """All layers of the deployed network, in the order of the modules."""

    about: About
    layers: tuple[Layer, ...] = attrs.field(validator=validators.min_len(1))

    def __attrs_post_init__(self) -> None:
        names = [layer.convolution.name for layer in self.layers]
        if len(set(names)) != len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"layer {repeated} occurs twice")
