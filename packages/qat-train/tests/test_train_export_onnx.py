"""The INT4 graph: valid, small, run by ONNX Runtime and Ultralytics unchanged, exact wherever exactness can be had."""

import ast
import importlib.util

import attrs
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from qat_train.errors import InputError, ResourceError, TrainError
from qat_train.export.deployed import kept_before_selection
from qat_train.export.folding import fold_detector
from qat_train.export.graph import RAW, checked_bytes, trace, with_weights
from qat_train.export.parity import compare_batch, compare_codes, stored_weights, with_raw_output
from qat_train.export.record import Tolerances
from qat_train.export.runtime import open_session, require_packages

from .exported import describe, make_detector

IMGSZ = 64


def exported(**kind):
    """(model, network, traced, graph) of a detector."""
    model, count = make_detector(**kind)
    network = fold_detector(model, describe(model), quantized_layers=count)
    traced = trace(network, imgsz=IMGSZ)
    return model, network, traced, with_weights(traced, network, "as trained")


@pytest.fixture(scope="module")
def whole():
    return exported()


def run(graph, images, **options):
    return open_session(checked_bytes(graph), threads=1, **options).run(None, {"images": images})


def images_of(count, seed=0):
    return np.random.default_rng(seed).random((count, 3, IMGSZ, IMGSZ), dtype=np.float32)


def test_codes_are_int4_and_int8_initialisers_dequantized_per_output_channel(whole):
    _, network, _, graph = whole
    onnx.checker.check_model(graph, full_check=True)
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 21)]
    kinds = {item.name: item.data_type for item in graph.graph.initializer}
    for layer in network.layers:
        own = layer.convolution
        if own.bits is not None:
            assert kinds[f"{own.name}.codes"] == {"int4": TensorProto.INT4, "int8": TensorProto.INT8}[own.storage]
            assert kinds[f"{own.name}.scale"] == TensorProto.FLOAT
    nodes = [node for node in graph.graph.node if node.op_type == "DequantizeLinear"]
    assert len(nodes) == 82
    assert all(helper.get_node_attr_value(node, "axis") == 0 for node in nodes)
    floats = sum(np.prod(i.dims) for i in graph.graph.initializer if i.data_type == TensorProto.FLOAT)
    assert floats < 25_000  # scales, biases and DFL: no weight is left in float


def test_every_code_in_the_file_is_the_trained_one(whole):
    model, network, _, graph = whole
    read_back = onnx.load_from_string(checked_bytes(graph))
    found = compare_codes(model, network, stored_weights(read_back))
    assert found.all_equal
    assert found.weights > 2_000_000


@pytest.mark.parametrize("bits", [2, 5])
def test_other_widths_keep_every_code_too(bits):
    model, network, _, graph = exported(bits=bits, policy="all")
    assert compare_codes(model, network, stored_weights(graph)).all_equal
    kind = TensorProto.INT4 if bits <= 4 else TensorProto.INT8
    assert {i.data_type for i in graph.graph.initializer if i.name.endswith(".codes")} == {kind}
    images = images_of(1)
    with torch.no_grad():
        expected = model(torch.from_numpy(images))[0]
    assert run(graph, images)[0].shape == tuple(expected.shape)


def test_a_changed_code_is_counted(whole):
    model, network, _, graph = whole
    stored = stored_weights(graph)
    values = stored["model.1.conv"].values.copy()
    values.flat[:5] ^= 1
    stored["model.1.conv"] = attrs.evolve(stored["model.1.conv"], values=values)
    found = compare_codes(model, network, stored)
    assert (found.weights - found.equal_onnx, found.equal_packed == found.weights) == (5, True)


def test_runtime_computes_what_the_trained_model_does_before_and_after_selection(whole):
    model, _, _, graph = whole
    images = images_of(3)
    head = model.model[-1]
    head.end2end = True
    with torch.no_grad(), kept_before_selection(head) as kept:
        model(torch.from_numpy(images))
        raw = kept.pop().numpy()
    rows, found = run(with_raw_output(graph, head.nc), images)
    agreement = compare_batch(raw, found)
    assert (agreement.images, agreement.detections > 100) == (3, True)
    assert agreement.box_error_px_anywhere < Tolerances().box_px
    assert agreement.score_error_anywhere < Tolerances().score
    best = np.sort(found[..., 4:].reshape(3, -1))[:, ::-1][:, : rows.shape[1]]
    assert np.array_equal(np.sort(rows[..., 4])[:, ::-1], best)


def test_any_number_of_images_gives_the_rows_of_each_alone(whole):
    graph = whole[3]
    images = images_of(4)
    (together,) = run(graph, images)
    assert together.shape == (4, 84, 6)
    for i in range(4):
        (alone,) = run(graph, images[i : i + 1])
        assert np.allclose(np.sort(alone[0, :, 4]), np.sort(together[i, :, 4]), atol=1e-5)


def test_dequantized_weights_are_scale_times_code_to_the_last_bit_for_negative_scales_too(whole):
    _, network, _, graph = whole
    negative = [layer for layer in network.layers if layer.scale is not None and (layer.scale < 0).any()]
    assert len(negative) > 60
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for layer in negative:
        name, shape = f"{layer.convolution.name}.weight", layer.convolution.shape
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    _, *found = run(copy, images_of(1))
    for layer, weight in zip(negative, found, strict=True):
        assert np.array_equal(weight, layer.weight)
        lowest = (layer.values == -8) & (layer.scale < 0)[:, None, None, None]
        assert (weight[lowest] > 0).all()


def test_weights_computed_at_loading_give_the_very_output_of_the_float_graph(whole):
    _, network, traced, graph = whole
    images = images_of(2)
    (folded,) = run(graph, images, fold_weights=True)
    (expected,) = run(with_weights(traced, network, "float32"), images)
    assert np.array_equal(folded, expected)


def test_int8_graph_holds_the_same_weights_in_bytes(whole):
    _, network, traced, graph = whole
    wide = with_weights(traced, network, "int8")
    assert np.array_equal(run(wide, images_of(1))[0], run(graph, images_of(1))[0])
    assert len(checked_bytes(wide)) > 1.8 * len(checked_bytes(graph))


def test_int4_file_is_at_most_a_sixth_of_the_float_one(whole):
    _, network, traced, graph = whole
    assert 6 * len(checked_bytes(graph)) <= len(checked_bytes(with_weights(traced, network, "float32")))


def test_the_same_network_gives_the_same_bytes(whole):
    _, network, _, graph = whole
    again = with_weights(trace(network, imgsz=IMGSZ), network, "as trained")
    assert checked_bytes(again) == checked_bytes(graph)


def test_metadata_are_what_ultralytics_reads(whole, tmp_path):
    from ultralytics.nn.backends.base import BaseBackend

    path = tmp_path / "model.onnx"
    path.write_bytes(checked_bytes(whole[3]))
    found = BaseBackend.read_metadata(path)
    assert (found["task"], found["stride"], found["end2end"], found["batch"]) == ("detect", "32", "True", "1")
    assert ast.literal_eval(found["imgsz"]) == [IMGSZ, IMGSZ]
    assert ast.literal_eval(found["names"]) == whole[0].names


def test_layers_that_are_not_those_of_the_graph_are_named(whole):
    _, network, traced, _ = whole
    with pytest.raises(TrainError, match=r"^initialiser model\.0\.conv\.bias of the traced graph belongs to no layer$"):
        with_weights(traced, attrs.evolve(network, layers=network.layers[1:]), "as trained")
    first = network.layers[0]
    renamed = attrs.evolve(first, convolution=attrs.evolve(first.convolution, name="other"))
    with pytest.raises(
        TrainError, match=r"^the traced graph has no initialiser other\.weight of shape \(16, 3, 3, 3\)"
    ):
        with_weights(traced, attrs.evolve(network, layers=(renamed, *network.layers[1:])), "as trained")


def test_layers_of_equal_weights_stay_apart(whole):
    """The exporter merges equal initialisers; two layers that share a name would share a weight."""
    _, network, _, _ = whole
    zero = [
        attrs.evolve(layer, values=np.zeros_like(layer.values), bias=None if layer.bias is None else layer.bias * 0)
        for layer in network.layers
    ]
    emptied = attrs.evolve(network, layers=tuple(zero))
    stored = stored_weights(with_weights(trace(emptied, imgsz=IMGSZ), emptied, "as trained"))
    assert set(stored) == {layer.convolution.name for layer in network.layers}


def change(graph, name, edit):
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    edit(next(node for node in copy.graph.node if node.name == name))
    return copy


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda n: n.attribute[0].CopyFrom(helper.make_attribute("axis", 1)), "is not dequantized per output channel"),
        (lambda n: n.attribute.pop(), "is not dequantized per output channel"),
        (lambda n: setattr(n, "op_type", "Mul"), "is not dequantized per output channel"),
        (lambda n: n.input.__setitem__(0, "images"), "images is no initialiser"),
    ],
)
def test_a_weight_that_is_not_read_from_codes_is_refused(whole, edit, text):
    changed = change(whole[3], "model.1.conv.dequantize", edit)
    with pytest.raises(InputError) as caught:
        stored_weights(changed)
    assert text in str(caught.value)


def test_a_graph_that_is_not_valid_is_no_result(whole):
    changed = change(whole[3], "model.1.conv.dequantize", lambda n: setattr(n, "op_type", "NoSuchOperator"))
    with pytest.raises(TrainError, match="the ONNX graph is not valid: "):
        checked_bytes(changed)
    with pytest.raises(InputError, match="the graph: ONNX Runtime cannot load it: "):
        open_session(changed.SerializeToString(), threads=1)


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(ResourceError) as caught:
        require_packages()
    assert str(caught.value) == "not installed: onnxruntime; an export needs pip install 'qat-train[export]'"


def test_raw_output_is_a_value_of_the_graph_that_the_file_does_not_return(whole):
    graph = whole[3].graph
    assert [output.name for output in graph.output] == ["output0"]
    assert any(RAW in node.output for node in graph.node)
