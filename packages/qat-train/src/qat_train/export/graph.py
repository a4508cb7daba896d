"""The ONNX graph: traced once as a skeleton, then given its weights as INT4, INT8 or float initialisers.

    codes (INT4 or INT8), scale (C,) -> DequantizeLinear(axis 0) -> Conv

Values have the names of the trained layers: model.0.conv.codes, model.0.conv.scale, model.0.conv.weight (what
DequantizeLinear gives), model.0.conv.bias.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Literal

import onnx
import torch
import ultralytics
from onnx import TensorProto, helper, numpy_helper
from ultralytics.nn.modules.block import C2f

from qat_train.errors import TrainError
from qat_train.export.deployed import deploy, kept_before_selection
from qat_train.export.folding import deployed_convolutions
from qat_train.export.network import Layer, Network
from qat_train.export.packed import pack_nibbles

TRACED_OPSET = 20  # the last one of torch's tracing exporter
OPSET = 21  # the first one with INT4
IR_VERSION = 10  # that of opset 21
RAW = "one2one"  # value inside the graph: boxes and class scores of every anchor, (batch, anchors, 4 + classes)
Weights = Literal["as trained", "int8", "float32"]


def trace(network: Network, *, imgsz: int) -> onnx.ModelProto:
    """The graph with placeholders for weights and biases, for any number of square images of one size.

    Inputs and outputs:
        images (batch, 3, imgsz, imgsz) in [0, 1] -> output0 (batch, min(max_det, anchors), 6), best first: x1, y1, x2,
        y2 in pixels, score, class.
    """
    model = deploy(network)
    with torch.no_grad():
        # torch merges initialisers of equal values, and two layers would have one name: each gets a value of its own.
        for number, (_, conv) in enumerate(deployed_convolutions(model)):
            conv.weight.fill_((2 * number + 1) * 1e-6)
            if conv.bias is not None:
                conv.bias.fill_((2 * number + 2) * 1e-6)
    head = model.model[-1]
    head.max_det = network.about.max_det
    head.export, head.dynamic, head.format = True, True, "onnx"  # plain outputs, anchors computed in the graph
    for module in model.modules():
        if isinstance(module, C2f):
            module.forward = module.forward_split  # one Split instead of slices
    forward = model.forward
    with (
        warnings.catch_warnings(),
        torch.no_grad(),
        kept_before_selection(head) as kept,
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")  # of tracing, and that the exporter is not the newest: that one adds a package
        model.forward = lambda images: (forward(images), kept.pop())
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, imgsz, imgsz),),  # not 1: a batch of one would be taken as fixed in places
            path := Path(folder) / "traced.onnx",
            input_names=["images"],
            output_names=["output0", RAW],
            dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch"}, RAW: {0: "batch"}},
            opset_version=TRACED_OPSET,
            dynamo=False,
        )
        traced = onnx.version_converter.convert_version(onnx.load(path), OPSET)
    traced.ir_version = IR_VERSION
    graph = traced.graph
    graph.name = network.about.variant
    del graph.value_info[:]  # derived by whoever needs it
    del graph.output[1]
    detections = min(network.about.max_det, sum((imgsz // int(s)) ** 2 for s in model.stride))
    # Traced with free height and width, so that anchors are computed, which is smaller than storing them. The first
    # output dimension stays without a name: a name makes Ultralytics' backend feed other sizes than the trained one.
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, imgsz, imgsz])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [None, detections, 6])
    graph.input[0].CopyFrom(image)
    graph.output[0].CopyFrom(output)
    helper.set_model_props(traced, _metadata(network, stride=int(max(model.stride)), imgsz=imgsz))
    return traced


def _metadata(network: Network, *, stride: int, imgsz: int) -> dict[str, str]:
    """What Ultralytics' own exporter writes and its ONNX backend reads, but the date: a file should have one hash."""
    about = network.about
    return {
        "description": f"{about.variant} {about.method}, int4 weights, of run {about.run_id}",
        "author": "qat-train",
        "version": ultralytics.__version__,
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": str(stride),
        "task": "detect",
        "head": "v10Detect",
        "batch": "1",
        "imgsz": str([imgsz, imgsz]),
        "names": str(dict(enumerate(about.names))),
        "args": str({"batch": 1, "dynamic": False, "simplify": False, "nms": False}),
        "channels": "3",
        "end2end": "True",
        "weights_sha256": about.weights_sha256,
    }


def with_weights(traced: onnx.ModelProto, network: Network, weights: Weights) -> onnx.ModelProto:
    """A copy of the skeleton with the network's numbers.

    Args:
        traced: by `trace`, of this network.
        network: what to put in.
        weights: "as trained" stores widths up to 4 as INT4 and the others as INT8; "int8" every code in a byte;
            "float32" what the codes stand for.

    Raises:
        TrainError: a layer has no placeholder of its shape, or a placeholder no layer.
    """
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    graph = model.graph
    waiting = {item.name: tuple(item.dims) for item in graph.initializer}
    initialisers, nodes = [], []
    for layer in network.layers:
        name = layer.convolution.name
        _take(waiting, f"{name}.weight", layer.convolution.shape)
        if layer.scale is None or weights == "float32":
            initialisers.append(numpy_helper.from_array(layer.weight, f"{name}.weight"))
        else:
            codes, scale = f"{name}.codes", f"{name}.scale"
            initialisers += [_codes(layer, codes, weights), numpy_helper.from_array(layer.scale, scale)]
            inputs, outputs = [codes, scale], [f"{name}.weight"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, outputs, name=f"{name}.dequantize", axis=0))
        if layer.bias is not None:
            _take(waiting, f"{name}.bias", layer.bias.shape)
            initialisers.append(numpy_helper.from_array(layer.bias, f"{name}.bias"))
    if waiting:
        raise TrainError(f"initialiser {min(waiting)} of the traced graph belongs to no layer")
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(initialisers)
    graph.node.extend(nodes)
    return model


def _take(waiting: dict[str, tuple[int, ...]], name: str, shape: tuple[int, ...]) -> None:
    found = waiting.pop(name, None)
    if found != shape:
        raise TrainError(f"the traced graph has no initialiser {name} of shape {shape}, found {found}")


def _codes(layer: Layer, name: str, weights: Weights) -> TensorProto:
    if layer.convolution.storage == "int4" and weights == "as trained":
        data = pack_nibbles(layer.values).tobytes()
        return helper.make_tensor(name, TensorProto.INT4, layer.convolution.shape, data, raw=True)
    return numpy_helper.from_array(layer.values, name)


def checked_bytes(model: onnx.ModelProto) -> bytes:
    """The serialised model, after onnx's full check.

    Raises:
        TrainError: it does not pass.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise TrainError(f"the ONNX graph is not valid: {error}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data
