"""Weight files with hostile changes: packed int4, the state of a run, and .pt files with their pickles."""

import hashlib
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qat_train.environment import prepare_environment

prepare_environment(1)  # before torch and Ultralytics are imported

import torch  # noqa: E402

import qat_artifacts  # noqa: E402
from qat_train.errors import InputError  # noqa: E402
from qat_train.export.network import About, Convolution, Layer, Network  # noqa: E402
from qat_train.export.packed import KEY, read_packed, write_packed  # noqa: E402
from qat_train.state import TrainingState, load_state, save_state  # noqa: E402
from qat_train.unpickling import open_pt  # noqa: E402

from .fuzz.damage import damaged, trees  # noqa: E402
from .fuzz.watching import watched  # noqa: E402

QUICK, SLOW = 100, 20_000
NAMED = (InputError, qat_artifacts.ArtifactError)
SIZES = (0, 1, 7, 2**20, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def header_of(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@st.composite
def safetensors(draw, data):
    """A safetensors file with another header, another length of it, or damaged bytes; of ours the manifest too."""
    header, body = header_of(data)
    how = draw(st.sampled_from(("header", "manifest", "length", "bytes")))
    if how == "bytes":
        return draw(damaged(data))
    if how == "manifest" and KEY in header.get("__metadata__", {}):
        text = draw(trees(json.loads(header["__metadata__"][KEY]), "json"))
        text = json.dumps(header | {"__metadata__": {KEY: text}})
    else:
        text = draw(trees(header, "json"))
    raw = text.encode("utf-8", "surrogatepass")
    length = draw(st.sampled_from(SIZES)) if how == "length" else len(raw)
    return struct.pack("<Q", length) + raw + body


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "canary").write_bytes(b"{}")
    return tmp_path.resolve()


def packed(folder):
    about = {"run_id": "tiny/seed0", "method": "ema", "weights_sha256": "0" * 64, "variant": "yolo10n"}
    about |= {"names": ("disc", "square"), "imgsz": 64, "head": "one2one", "max_det": 300, "class_width": 64}
    layers = []
    for name, bits, shape in (("stem", 8, (3, 3, 1, 1)), ("body", 4, (3, 1, 3, 3)), ("dfl", None, (1, 4, 1, 1))):
        own = Convolution(name=name, bits=bits, shape=shape, bias=True)
        values = np.ones(shape, np.float32 if bits is None else np.int8)
        scale = None if bits is None else np.ones(shape[0], np.float32)
        layers.append(Layer(convolution=own, values=values, scale=scale, bias=np.ones(shape[0], np.float32)))
    network = Network(about=About(**about, architecture={"nc": 2}), layers=tuple(layers))
    write_packed(folder / "model.safetensors", network, created_by="test")
    return folder / "model.safetensors", read_packed


def state(folder):
    found = {"epoch": 1, "spec_sha256": "0" * 64, "tensors": "", "tensors_sha256": "", "ema_updates": 1}
    found |= {"criterion_updates": 1, "rollbacks": 0, "seconds": 1.0, "optimizer_groups": (), "scaler": {}}
    tensors = {"raw.conv.weight": torch.ones(2, 3), "optimizer.0.exp_avg": torch.zeros(4)}
    save_state(folder, TrainingState(**found, records=(), events=()), tensors)

    def read(path):
        """As if the state named the damaged file, so that its hash does not save the reader."""
        about = json.loads((folder / "state.json").read_text())
        about["tensors_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "state.json").write_text(json.dumps(about))
        with watched(folder, folder.parent):
            return load_state(folder)

    return folder / "epoch00001-0.safetensors", read


def model(folder):
    buffer = io.BytesIO()
    torch.save({"epoch": -1, "train_args": {"imgsz": 64}, "model": torch.nn.Conv2d(1, 2, 1).state_dict()}, buffer)
    (folder / "model.pt").write_bytes(buffer.getvalue())
    return folder / "model.pt", open_pt


FAMILIES = {"packed int4": (packed, safetensors), "state of a run": (state, safetensors), ".pt": (model, damaged)}


def hurt(make, strategy, tree, executions):
    folder = tree / "folder"
    path, read = make(folder)
    whole = path.read_bytes()
    read(path)
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=executions, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy(whole))
    def run(data):
        path.write_bytes(data)
        try:
            if make is state:
                read(path)
            else:
                with watched(folder, tree):
                    read(path)
            counts["read"] += 1
        except NAMED as error:
            counts["refused"] += 1 if str(error).strip() else pytest.fail("refused without a word")

    run()
    return counts


@pytest.mark.fault("extra-fuzz", "a damaged or hostile weight file is read or refused by name", how="real")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_weight_file_is_read_or_refused_and_nothing_else_happens(family, tree, record_property):
    counts = hurt(*FAMILIES[family], tree, QUICK)
    record_property("fuzz executions", sum(counts.values()))
    assert counts["refused"]


@pytest.mark.slow
@pytest.mark.fault("extra-fuzz", "20,000 damaged weight files of a kind are read or refused by name", how="real")
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_thousand_damaged_weight_files(family, tree, record_property):
    counts = hurt(*FAMILIES[family], tree, SLOW)
    record_property("fuzz executions", sum(counts.values()))
    assert counts["refused"]
    assert sum(counts.values()) >= SLOW
