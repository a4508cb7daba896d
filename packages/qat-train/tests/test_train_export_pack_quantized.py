"""The layout of compressed-tensors: words as its packer makes them, every code times scale read back exactly."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from qat_artifacts import Exit
from qat_train.export.network import Network
from qat_train.export.pack_quantized import pack_words, write_pack_quantized
from qat_train.export.packed import write_packed

from .exported import command
from .test_train_export_packed import ABOUT, make_layer

LAYERS = (
    make_layer("stem", 8, (5, 3, 3, 3), seed=1),
    make_layer("dense", 4, (6, 7, 3, 3), seed=2, bias=False),
    make_layer("deep", 3, (4, 1, 7, 7), groups=4, seed=3),
    make_layer("dfl", None, (1, 16, 1, 1), bias=False, seed=4),
)
NETWORK = Network(about=ABOUT, layers=LAYERS)

# (width, codes, words): the words are what compressed_tensors.compressors.pack_quantized.helpers.pack_to_int32 of
# compressed-tensors 0.20.0 returned for the codes.
PACKED = [
    (4, [[-8, 7, -1, 0, 1, 2, 3, -4, 5, -6], [7] * 8 + [-8, -8]], [[1269401584, 45], [-1, 0]]),
    (8, [[-128, 127, -1, 0, 1], [5, -6, 7, -8, 9]], [[-2139095296, 129], [2022144645, 137]]),
]


@pytest.fixture
def unpack():
    """The library's own function, from its file: the package itself imports transformers."""
    found = importlib.util.find_spec("compressed_tensors")
    if found is None:
        pytest.skip("compressed-tensors is not installed")
    path = Path(found.origin).parent / "compressors" / "pack_quantized" / "helpers.py"
    spec = importlib.util.spec_from_file_location("pack_quantized_helpers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.unpack_from_int32


def unpacked(words, bits, shape):
    """Codes of words, bit by bit, as the layout is described."""
    rows, columns = shape
    stream = np.unpackbits(words.astype("<i4").view(np.uint8), axis=1, bitorder="little")[:, : columns * bits]
    digits = stream.reshape(rows, columns, bits).astype(np.int64)
    return (digits << np.arange(bits)).sum(axis=2) - (1 << (bits - 1))


@pytest.mark.parametrize(("bits", "codes", "words"), PACKED)
def test_words_are_those_of_the_librarys_packer(bits, codes, words):
    assert pack_words(np.array(codes, dtype=np.int8), bits).tolist() == words
    assert unpacked(np.array(words, dtype=np.int32), bits, np.shape(codes)).tolist() == codes


@given(st.data(), st.sampled_from([4, 8]), st.integers(1, 5), st.integers(1, 40))
def test_every_code_comes_back_and_what_follows_it_is_empty(data, bits, rows, columns):
    limit = 1 << (bits - 1)
    codes = data.draw(arrays.arrays(np.int8, (rows, columns), elements=st.integers(-limit, limit - 1)))
    words = pack_words(codes, bits)
    assert words.dtype == np.int32
    assert words.shape == (rows, -(-columns * bits // 32))
    assert np.array_equal(unpacked(words, bits, codes.shape), codes)
    rest = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, columns * bits :]
    assert not rest.any()


def read_back(folder, unpack):
    """Matrices by layer, as the configuration and the tensors say, with a function that unpacks words."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    tensors = load_file(folder / "model.safetensors")
    found = {name: tensors[f"{name}.weight"] for name in config["ignore"]}
    for group in config["config_groups"].values():
        for name in group["targets"]:
            shape = tuple(tensors[f"{name}.weight_shape"].tolist())
            codes = unpack(tensors[f"{name}.weight_packed"], group["weights"]["num_bits"], shape)
            found[name] = codes.astype(np.float32) * tensors[f"{name}.weight_scale"]
    return found


def matrices():
    return {layer.convolution.name: layer.weight.reshape(layer.weight.shape[0], -1) for layer in LAYERS}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, matrix in wanted.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], matrix), name


def test_every_weight_is_read_back_exactly(tmp_path):
    write_pack_quantized(tmp_path, NETWORK)
    assert_equal(read_back(tmp_path, unpacked), matrices())
    tensors = load_file(tmp_path / "model.safetensors")
    assert {name for name in tensors if name.endswith(".bias")} == {"stem.bias", "deep.bias"}
    assert np.array_equal(tensors["stem.bias"], LAYERS[0].bias)


def test_the_librarys_own_function_reads_the_same(tmp_path, unpack):
    write_pack_quantized(tmp_path, NETWORK)

    def by_library(words, bits, shape):
        return unpack(torch.from_numpy(words), bits, torch.Size(shape)).numpy()

    assert_equal(read_back(tmp_path, by_library), matrices())


def test_codes_of_up_to_4_bits_take_4_and_wider_ones_8(tmp_path):
    write_pack_quantized(tmp_path, NETWORK)
    config = json.loads((tmp_path / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"]
    assert {k: (g["targets"], g["weights"]["num_bits"]) for k, g in groups.items()} == {
        "int4": (["dense", "deep"], 4),
        "int8": (["stem"], 8),
    }
    assert config["quantization_config"]["ignore"] == ["dfl"]
    assert config["convolutions"][2]["groups"] == 4  # what a matrix alone does not say


def test_the_command_writes_the_same_bytes_for_the_same_export(tmp_path, capfd):
    export = tmp_path / "export"
    write_packed(export / "model.safetensors", NETWORK, created_by="test")
    for name in ("one", "two"):
        assert command("compressed-tensors", "--export", export, "--out", tmp_path / name) == Exit.OK
    assert capfd.readouterr().out == f"{tmp_path / 'one'}\n{tmp_path / 'two'}\n"
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert_equal(read_back(tmp_path / "one", unpacked), matrices())


def test_a_folder_without_an_export_is_refused_and_an_export_is_not_overwritten(tmp_path, capfd):
    assert command("compressed-tensors", "--export", tmp_path, "--out", tmp_path / "out") == Exit.INPUT
    assert f"error: {tmp_path / 'model.safetensors'}: no such file" in capfd.readouterr().err
    write_packed(tmp_path / "model.safetensors", NETWORK, created_by="test")
    before = (tmp_path / "model.safetensors").read_bytes()
    assert command("compressed-tensors", "--export", tmp_path, "--out", tmp_path) == Exit.USAGE
    assert f"error: --out {tmp_path}: is the export itself, whose model.safetensors would" in capfd.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == before
