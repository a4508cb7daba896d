"""Do the files compute what was trained? Codes one by one, detections anchor by anchor.

Two detections of equal score may change places in a selection of the best, so rows of the two outputs cannot be
compared in order: boxes and scores are compared before the selection, and the selection as a set.
"""

from collections import Counter
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from qat_train.errors import InputError
from qat_train.export.graph import RAW
from qat_train.export.network import Network
from qat_train.export.record import THRESHOLD, Agreement, Codes
from qat_train.insertion import active_quantizers, layer_codes

Array = npt.NDArray[Any]


@attrs.frozen(kw_only=True, eq=False)
class StoredWeight:
    """The weight of one convolution in an ONNX file; without a `scale` the values are the weight."""

    values: Array
    scale: Array | None
    bias: Array | None


def stored_weights(model: onnx.ModelProto) -> dict[str, StoredWeight]:
    """The weights that the convolutions of a graph use, by the name of their layer, found from the Conv nodes.

    Raises:
        InputError: a Conv's weight is neither an initialiser nor DequantizeLinear(axis 0) of initialisers.
    """
    arrays = {item.name: item for item in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    found = {}

    def array(name: str) -> Array:
        if name not in arrays:
            raise InputError(f"ONNX: {name} is no initialiser")
        values: Array = numpy_helper.to_array(arrays[name])
        return values.astype(np.int8) if arrays[name].data_type == TensorProto.INT4 else values

    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        weight, bias = node.input[1], array(node.input[2]) if len(node.input) > 2 else None
        layer = weight.removesuffix(".weight")
        if weight in arrays:
            found[layer] = StoredWeight(values=array(weight), scale=None, bias=bias)
            continue
        source = producers.get(weight)
        axis = next((a.i for a in source.attribute if a.name == "axis"), 1) if source is not None else None
        if source is None or source.op_type != "DequantizeLinear" or len(source.input) != 2 or axis != 0:
            raise InputError(f"ONNX: {weight} is not dequantized per output channel")
        found[layer] = StoredWeight(values=array(source.input[0]), scale=array(source.input[1]), bias=bias)
    return found


def compare_codes(model: nn.Module, packed: Network, stored: dict[str, StoredWeight]) -> Codes:
    """Count the codes that the files share with the trained model, weight by weight."""
    trained = {name: layer_codes(conv, quantizer).numpy() for name, conv, quantizer in active_quantizers(model)}
    weights = equal_packed = equal_onnx = 0
    for layer in packed.layers:
        if layer.convolution.bits is None:
            continue
        name = layer.convolution.name
        weights += trained[name].size
        equal_packed += _equal(trained[name], layer.values)
        equal_onnx += _equal(trained[name], stored[name].values) if name in stored else 0
    return Codes(weights=weights, equal_packed=equal_packed, equal_onnx=equal_onnx)


def _equal(trained: Array, found: Array) -> int:
    return int((trained == found).sum()) if trained.shape == found.shape else 0


def with_raw_output(model: onnx.ModelProto, classes: int) -> onnx.ModelProto:
    """A copy whose second output is boxes and scores of every anchor, (batch, anchors, 4 + classes)."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(helper.make_tensor_value_info(RAW, TensorProto.FLOAT, ["batch", "anchors", 4 + classes]))
    return copy


def compare_batch(reference: Array, found: Array, threshold: float = THRESHOLD) -> Agreement:
    """Boxes and scores of one batch before selection.

    Args:
        reference: (batch, anchors, 4 + classes): box sides in pixels, then class scores in [0, 1].
        found: of the same shape.
        threshold: pairs of anchor and class with a score above it, on either side, are detections.
    """
    boxes = np.abs(reference[..., :4] - found[..., :4]).max(axis=-1)
    scores = np.abs(reference[..., 4:] - found[..., 4:])
    detected = np.maximum(reference[..., 4:], found[..., 4:]) > threshold
    return Agreement(
        images=len(reference),
        detections=int(detected.sum()),
        threshold=threshold,
        box_error_px=float(boxes[detected.any(axis=-1)].max(initial=0.0)),
        score_error=float(scores[detected].max(initial=0.0)),
        box_error_px_anywhere=float(boxes.max(initial=0.0)),
        score_error_anywhere=float(scores.max(initial=0.0)),
        reselected=0,
    )


def reselected(rows: Array, expected: Array, threshold: float = THRESHOLD) -> int:
    """Rows above the threshold that only one of two selections holds, whatever their order.

    Of rows that share the lowest selected score either selection may hold any: of these only the number counts.

    Args:
        rows: (detections, 6): box, score, class of one image.
        expected: likewise, selected from the very same numbers, so that equal rows are equal to the last bit.
        threshold: on the score.
    """
    lowest = expected[:, 4].min(initial=1.0)

    def count(side: Array) -> Counter[bytes]:
        return Counter(
            (row if row[4] > lowest else row[4]).tobytes() for row in side[side[:, 4] > threshold].astype(np.float32)
        )

    ours, theirs = count(rows), count(expected)
    return (ours - theirs).total() + (theirs - ours).total()


def merge(parts: list[Agreement]) -> Agreement:
    """All batches as one."""
    return Agreement(
        images=sum(part.images for part in parts),
        detections=sum(part.detections for part in parts),
        threshold=parts[0].threshold,
        box_error_px=max(part.box_error_px for part in parts),
        score_error=max(part.score_error for part in parts),
        box_error_px_anywhere=max(part.box_error_px_anywhere for part in parts),
        score_error_anywhere=max(part.score_error_anywhere for part in parts),
        reselected=sum(part.reselected for part in parts),
    )
