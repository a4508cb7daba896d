"""The packed checkpoint: bytes as specified, exact round trips, and files that are not what they say."""

import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from qat_train.errors import InputError
from qat_train.export.network import About, Convolution, Layer, Network
from qat_train.export.packed import KEY, pack_nibbles, read_packed, unpack_nibbles, write_packed
from qat_train.quantizer import code_range

EXAMPLE = Path(__file__).parents[1] / "examples" / "read_packed.py"
ABOUT = About(
    run_id="tiny/seed0",
    method="ema",
    weights_sha256="0" * 64,
    variant="yolo10n",
    names=("disc", "square"),
    imgsz=64,
    head="one2one",
    max_det=300,
    class_width=64,
    architecture={"nc": 2},
)


def make_layer(name, bits, shape, *, groups=1, stride=1, dilation=1, bias=True, seed=0):
    """A layer of random codes that use the whole range, and scales of both signs."""
    rng = np.random.default_rng(seed)
    convolution = Convolution(
        name=name,
        bits=bits,
        shape=shape,
        bias=bias,
        stride=(stride, stride),
        padding=(shape[2] // 2, shape[3] // 2),
        dilation=(dilation, dilation),
        groups=groups,
    )
    if bits is None:
        values, scale = rng.standard_normal(shape, dtype=np.float32), None
    else:
        low, high = code_range(bits)
        values = rng.integers(low, high + 1, shape).astype(np.int8)
        scale = rng.standard_normal(shape[0], dtype=np.float32)
    return Layer(
        convolution=convolution,
        values=values,
        scale=scale,
        bias=rng.standard_normal(shape[0], dtype=np.float32) if bias else None,
    )


def make_network(*layers):
    return Network(about=ABOUT, layers=layers)


def write(path, *layers):
    write_packed(path, make_network(*layers), created_by="test")
    return path


def rewrite(path, change_manifest=lambda m: None, change_tensors=lambda t: None):
    """The file again, with another manifest and other tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    manifest = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    tensors = load(data)
    change_manifest(manifest)
    change_tensors(tensors)
    path.write_bytes(save(tensors, metadata={KEY: json.dumps(manifest)}))


@pytest.fixture
def packed(tmp_path):
    """A file of a 4-bit, an 8-bit and a float layer."""
    return write(
        tmp_path / "model.safetensors",
        make_layer("a.conv", 4, (3, 5, 1, 1)),
        make_layer("b.conv", 8, (2, 1, 3, 3)),
        make_layer("c.conv", None, (1, 4, 1, 1), bias=False),
    )


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_nibbles_are_twos_complement_low_half_first(codes):
    packed = pack_nibbles(np.array(codes, dtype=np.int8))
    expected = bytearray((len(codes) + 1) // 2)
    for i, code in enumerate(codes):
        expected[i // 2] |= (code % 16) << (4 * (i % 2))
    assert packed.tobytes() == bytes(expected)
    assert unpack_nibbles(packed, (len(codes),)).tolist() == codes


def test_onnx_decodes_the_same_bytes_to_the_same_codes():
    from onnx import TensorProto, helper, numpy_helper

    codes = np.arange(-8, 7, dtype=np.int8).reshape(3, 5)
    tensor = helper.make_tensor("codes", TensorProto.INT4, codes.shape, pack_nibbles(codes).tobytes(), raw=True)
    assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int8), codes)


@given(
    st.lists(st.sampled_from([None, 2, 3, 4, 5, 6, 7, 8]), min_size=1, max_size=4),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_what_is_read_is_what_was_written(tmp_path_factory, widths, shape, bias, seed):
    path = tmp_path_factory.mktemp("packed") / "model.safetensors"
    layers = [make_layer(f"layer{i}", bits, shape, bias=bias, seed=seed + i) for i, bits in enumerate(widths)]
    found = read_packed(write(path, *layers))
    assert found.about == ABOUT
    for ours, theirs in zip(layers, found.layers, strict=True):
        assert theirs.convolution == ours.convolution
        for name in ("values", "scale", "bias"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None) == (other is None)
            assert one is None or (one.dtype == other.dtype and np.array_equal(one, other))


def test_the_same_network_gives_the_same_bytes(tmp_path):
    layers = [make_layer(f"layer{i}", 4, (2, 3, 1, 1), seed=i) for i in range(20)]
    first, second = (write(tmp_path / f"{i}.safetensors", *layers).read_bytes() for i in range(2))
    assert first == second


def test_weights_of_4_bits_and_fewer_take_half_a_byte(tmp_path):
    for bits, size in ((2, 500), (3, 500), (4, 500), (5, 1000), (8, 1000)):
        path = write(tmp_path / f"{bits}.safetensors", make_layer("layer", bits, (10, 100, 1, 1), bias=False))
        assert load(path.read_bytes())["layer.codes"].nbytes == size


def load_example():
    spec = importlib.util.spec_from_file_location("read_packed", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_needs_no_torch_and_recomputes_a_convolution(packed):
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    arguments = [str(EXAMPLE), str(packed), "b.conv"]
    code = code.replace("runpy.run_path(", "path = sys.argv.pop(1); runpy.run_path(").replace("(sys.argv[1],", "(path,")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "8 bits, weight (2, 1, 3, 3), output (1, 2, 16, 16)\n"


@pytest.mark.parametrize(
    "layer",
    [
        make_layer("dense", 4, (6, 3, 3, 3), stride=2),
        make_layer("depthwise", 3, (4, 1, 7, 7), groups=4),
        make_layer("grouped", 8, (4, 2, 3, 1), groups=2, dilation=2, bias=False),
        make_layer("float", None, (1, 16, 1, 1), bias=False),
    ],
    ids=lambda layer: layer.convolution.name,
)
def test_the_example_computes_what_torch_computes(layer, tmp_path):
    example = load_example()
    own = layer.convolution
    found = example.read(str(write(tmp_path / "model.safetensors", layer)))[own.name]
    assert np.array_equal(found["weight"], layer.weight)
    images = np.random.default_rng(1).standard_normal((2, own.shape[1] * own.groups, 12, 9), np.float32)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(images).double(),
        torch.from_numpy(layer.weight).double(),
        None if layer.bias is None else torch.from_numpy(layer.bias).double(),
        own.stride,
        own.padding,
        own.dilation,
        own.groups,
    )
    assert np.allclose(example.convolve(images, found), expected.numpy(), atol=1e-4)


def refused(path):
    with pytest.raises(InputError) as caught:
        read_packed(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_a_file_that_is_not_there_or_is_none_is_refused(tmp_path, packed):
    assert refused(tmp_path / "none") == "no such file"
    (tmp_path / "text").write_text("not a container")
    assert refused(tmp_path / "text").startswith("no whole safetensors file: ")
    (tmp_path / "other.safetensors").write_bytes(save({"x": np.zeros(2, np.float32)}))
    assert refused(tmp_path / "other.safetensors") == "no packed checkpoint, its header has no 'qat-int4'"


def test_a_truncated_file_is_refused_wherever_it_ends(packed):
    data = packed.read_bytes()
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        packed.write_bytes(data[:length])
        assert refused(packed).startswith("no whole safetensors file: ")


def header(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(content, body):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("length", [2**63, 2**40, 10_000])
def test_a_header_longer_than_the_file_is_refused_before_it_is_allocated(packed, length):
    packed.write_bytes(struct.pack("<Q", length) + packed.read_bytes()[8:])
    assert refused(packed).startswith("no whole safetensors file: ")


def test_tensors_that_overlap_leave_gaps_or_pass_the_end_are_refused(packed):
    content, body = header(packed.read_bytes())
    start, end = content["a.conv.scale"]["data_offsets"]
    for offsets in ([start + 4, end + 4], [0, end - start], [start, end + 4], [end, start], [2**60, 2**60 + 12]):
        content["a.conv.scale"]["data_offsets"] = offsets
        packed.write_bytes(with_header(content, body))
        assert refused(packed).startswith("no whole safetensors file: ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.update(version="2.0"), "qat-int4 2.0, this program reads 1.x"),
        (lambda m: m.update(version="one"), "the manifest names no version"),
        (lambda m: m.pop("version"), "the manifest names no version"),
        (lambda m: m.update(more=1), "manifest: top level: unknown field 'more'"),
        (lambda m: m.pop("about"), "manifest: about: required field 'about' is missing"),
        (
            lambda m: m["layers"][0].update(shape=[3, 5, 1, 2]),
            "a.conv: codes: 8 bytes of shape (8,), 30 weights take 15",
        ),
        (lambda m: m["layers"][0].update(shape=[3, 5, 2**40, 2**40]), "a.conv: codes: 8 bytes of shape (8,), 18"),
        (
            lambda m: m["layers"][0].update(shape=[5, 3, 1, 1]),
            "a.conv: scale are float32 (3,), float32 (5,) is expected",
        ),
        (lambda m: m["layers"][0].update(shape=[3, 5]), "manifest: layers[0]: shape must hold 4 numbers, found 2"),
        (lambda m: m["layers"][0].update(bits=9), "manifest: layers[0]: bits must lie in [2, 8], found 9"),
        (lambda m: m["layers"][0].update(bits=8), "a.conv: values are uint8 (8,), int8 (3, 5, 1, 1) is expected"),
        (lambda m: m["layers"][0].update(bits=None), "a.conv: tensor weight is missing"),
        (lambda m: m["layers"][0].update(bias=False), "tensor a.conv.bias belongs to no layer"),
        (lambda m: m["layers"][2].update(bias=True), "c.conv: tensor bias is missing"),
        (lambda m: m["layers"].pop(), "tensor c.conv.weight belongs to no layer"),
        (lambda m: m["layers"].append(m["layers"][0]), "a.conv: tensor codes is missing"),
    ],
)
def test_a_manifest_that_is_not_of_its_tensors_is_refused(packed, change, text):
    rewrite(packed, change)
    assert refused(packed).startswith(text)


def test_a_newer_minor_version_may_know_more(packed):
    before = [layer.convolution for layer in read_packed(packed).layers]
    rewrite(packed, lambda m: m.update(version="1.7", more=1))
    assert [layer.convolution for layer in read_packed(packed).layers] == before


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("a.conv.codes", np.full(8, 0x88, np.uint8), "a.conv: codes: the last half byte is not empty"),
        ("a.conv.codes", np.zeros(8, np.int8), "a.conv: codes are int8, nibbles in uint8 are expected"),
        ("a.conv.scale", np.array([1, np.nan, 1], np.float32), "a.conv: scale hold a number that is not finite"),
        ("a.conv.scale", np.ones(3, np.float64), "a.conv: scale are float64 (3,), float32 (3,) is expected"),
        ("b.conv.bias", np.array([1, -np.inf], np.float32), "b.conv: bias hold a number that is not finite"),
        ("c.conv.weight", np.ones((1, 4, 1), np.float32), "c.conv: values are float32 (1, 4, 1), float32 (1, 4, 1, 1)"),
    ],
)
def test_tensors_that_are_not_as_the_manifest_says_are_refused(packed, name, value, text):
    rewrite(packed, change_tensors=lambda t: t.update({name: value}))
    assert refused(packed).startswith(text)


def test_a_code_outside_the_range_of_its_width_is_refused(tmp_path):
    path = write(tmp_path / "model.safetensors", make_layer("layer", 3, (2, 2, 1, 1)))
    rewrite(path, change_tensors=lambda t: t.update({"layer.codes": pack_nibbles(np.array([-5, 0, 0, 3], np.int8))}))
    assert refused(path) == "layer: codes from -5 to 3, 3 bits hold -4 to 3"


def test_a_manifest_with_nan_or_a_key_twice_is_refused(packed):
    tensors = load(packed.read_bytes())
    for text in ('{"version": NaN}', '{"version": "1.0", "version": "1.0"}', "[" * 100_000, "{"):
        packed.write_bytes(save(tensors, metadata={KEY: text}))
        assert refused(packed).startswith("the manifest is not valid JSON: ")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_gets_through_or_makes_anything_but_a_refusal(tmp_path_factory, data):
    """Bytes changed at will: the file is refused, or every number in it is one that the format allows."""
    path = tmp_path_factory.mktemp("fuzzed") / "model.safetensors"
    write(path, make_layer("a", 4, (3, 3, 1, 1)), make_layer("b", None, (1, 2, 1, 1)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        found = read_packed(path)
    except InputError:
        return
    for layer in found.layers:
        attrs.evolve(layer)  # validators run again
        assert np.isfinite(layer.weight).all()
