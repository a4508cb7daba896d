"""A .pt file or a data folder of a stranger leaves no trace: nothing in it runs, nothing is fetched for it."""

import contextlib
import copy
import hashlib
import inspect
import io
import os
import pathlib
import pickle
import sys
import types
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qat_data.prepare import Request, prepare
from qat_data.yolo import read_yolo
from qat_train.environment import prepare_environment

prepare_environment(1)  # Ultralytics reads it at import

import torch  # noqa: E402
from ultralytics.nn import tasks  # noqa: E402
from ultralytics.utils import DEFAULT_CFG  # noqa: E402

from qat_train import cli  # noqa: E402
from qat_train.detector import build_detector, load_detector, match_classes, save_pt  # noqa: E402
from qat_train.errors import InputError, ResourceError, SpecError  # noqa: E402
from qat_train.evaluator import square_loader  # noqa: E402
from qat_train.export.predicting import predict  # noqa: E402
from qat_train.export.reference import starting_detector  # noqa: E402
from qat_train.state import read_tensors  # noqa: E402
from qat_train.unpickling import LAYERS, open_pt  # noqa: E402

NAMES = ("disc", "square")


class Call:
    """Pickles as a call of `function` on `arguments`, which unpickling would make."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


class CallOfATensor(torch.Tensor):
    """A tensor that pickles as a call."""

    def __reduce_ex__(self, protocol):
        return self.made


def tensor_that_calls(function, *arguments):
    made = torch.zeros(2).as_subclass(CallOfATensor)
    made.made = function, arguments
    return made


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def rezipped(data, *, compression=zipfile.ZIP_STORED, first=(), extra=()):
    """The members of a checkpoint in another archive, and more of them before and after."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        members = dict(first) | {name: old.read(name) for name in old.namelist()} | dict(extra)
        for name, content in members.items():
            new.writestr(name, content)
    return buffer.getvalue()


def touching(marker):
    """Python that leaves a trace; a file name stands in it as it is."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def architecture_that_evaluates(marker):
    return {"nc": 2, "activation": touching(marker), "backbone": [[-1, 1, "nn.Identity", []]], "head": []}


PAYLOADS = {
    "os.system": (lambda m: saved({"model": Call(os.system, f"touch {m}")}), "names posix.system,"),
    "eval": (lambda m: saved({"model": Call(eval, touching(m))}), "names __builtin__.eval,"),
    "exec of a tensor": (
        lambda m: saved({"ema": {"weights": [tensor_that_calls(exec, touching(m))]}}),
        "names __builtin__.exec,",
    ),
    "a file function": (lambda m: saved({"model": Call(open, str(m), "w")}), "names io.open,"),
    "a function of a listed module": (
        lambda m: saved({"model": Call(tasks.parse_model, architecture_that_evaluates(m), 3)}),
        "names ultralytics.nn.tasks.parse_model,",
    ),
    "a listed class that is called": (
        lambda m: saved({"model": Call(tasks.DetectionModel, architecture_that_evaluates(m))}),
        "calls DetectionModel,",
    ),
    "the format before torch 1.6": (
        lambda m: saved({"model": Call(os.system, f"touch {m}")}, _use_new_zipfile_serialization=False),
        "names posix.system,",
    ),
    "a pickle of protocol 0": (lambda m: pickle.dumps(Call(os.system, f"touch {m}"), 0), "names posix.system,"),
    "a pickle of protocol 5": (lambda m: pickle.dumps(Call(os.system, f"touch {m}"), 5), "names posix.system,"),
    "a second pickle in the archive": (
        lambda m: rezipped(saved({"model": 1}), extra={"archive/more.pkl": pickle.dumps(Call(eval, touching(m)), 2)}),
        "names __builtin__.eval,",
    ),
    "a checkpoint before the archive": (
        lambda m: pickle.dumps(Call(os.system, f"touch {m}"), 2) + saved({"model": 1}),
        "names posix.system,",
    ),
    "a package that would be installed": (
        lambda m: rezipped(saved({"model": 1}), extra={"archive/data.pkl": b"\x80\x02cevil_package\nThing\n."}),
        "names evil_package.Thing,",
    ),
}


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    model = tasks.DetectionModel("yolov10n.yaml", nc=len(NAMES), verbose=False)
    model.names = dict(enumerate(NAMES))
    return model


@pytest.fixture(scope="module")
def checkpoint(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.pt"
    save_pt(detector, path, train_arguments={"imgsz": 64})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Somebody's YOLO folder, and the same data prepared."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / "theirs" / kind / split).mkdir(parents=True)
        for n in range(2):
            Image.new("RGB", (64, 64), (90 * n, 50, len(split))).save(folder / f"theirs/images/{split}/{n}.jpg")
            (folder / f"theirs/labels/{split}/{n}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (folder / "theirs/my.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [disc, square]\n")
    prepare(read_yolo(folder / "theirs/my.yaml"), folder / "prepared", Request())
    return folder


@pytest.fixture
def specification(data, tmp_path):
    """Write a run.toml that starts from a file; returns its path."""

    def write(checkpoint, *, bits=4, model=""):
        path = tmp_path / "run.toml"
        path.write_text(
            f"""[run]\nrun_id = "a"\ntrajectory_id = "a"\nseed = 0\n[model]\nvariant = "yolo10n"\n
checkpoint = "{checkpoint}"\n{model}\n[data]\ndataset = "{data / "prepared"}"\n[quantization]\nbits = {bits}\n
[training]\nepochs = 1\nimgsz = 64\nbatch = 2\nlr0 = 0.001\nlrf = 0.1\ndevice = "cpu"\nthreads = 1\n"""
        )
        return path

    return write


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def command(monkeypatch, capfd, *words):
    """Exit code and stderr of qat-train."""
    monkeypatch.setattr(sys, "argv", ["qat-train", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capfd.readouterr().err


# Nothing in the file runs ---------------------------------------------------------------------------------------------


@pytest.mark.fault("B2-43", "a malicious .pt leaves no trace, and its refusal names global and remedy", how="real")
@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_payload_is_refused_by_name_and_leaves_no_trace(tmp_path, kind):
    make, named = PAYLOADS[kind]
    marker, path = tmp_path / "executed", tmp_path / "hostile.pt"
    path.write_bytes(make(marker))
    with pytest.raises(InputError) as caught:
        load_detector(str(path))
    assert not marker.exists()
    text = str(caught.value)
    assert text.startswith(f"{path} was not opened: it {named}")
    assert text.endswith(f"pass --trust-checkpoint {sha256(path)}")


@pytest.mark.fault("B2-43", "the payloads of this table are live: stock loading runs them", how="real")
@pytest.mark.parametrize("kind", [k for k in PAYLOADS if "package" not in k and "second" not in k])
def test_the_payloads_would_run(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)  # as where nobody asked for care
    marker = tmp_path / "executed"
    data = PAYLOADS[kind][0](marker)
    with contextlib.suppress(Exception):
        torch.load(io.BytesIO(data), weights_only=False)
    with contextlib.suppress(Exception):
        pickle.loads(data)
    assert marker.exists()


@pytest.mark.fault("B2-43", "compressed and torn archives are refused without a trace", how="real")
def test_an_archive_that_torch_did_not_write_is_refused(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pt"
    data = PAYLOADS["os.system"][0](marker)
    for changed in (rezipped(data, compression=zipfile.ZIP_DEFLATED), data[: len(data) // 2], data[:60] + b"\0" * 99):
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"hostile\.pt (cannot be read as a checkpoint|was not opened)"):
            load_detector(str(path))
        assert not marker.exists()


def test_a_file_cannot_end_the_search_of_its_own_pickles(tmp_path):
    path, unlisted = tmp_path / "hostile.pt", saved({"model": Counter()})  # torch's own list has it, ours has not
    path.write_bytes(unlisted)
    with pytest.raises(InputError, match=r"was not opened: it names collections\.Counter,"):
        open_pt(path)
    path.write_bytes(rezipped(unlisted, first={"archive/0.pkl": b"a pickle whose check sum will be wrong"}))
    path.write_bytes(path.read_bytes().replace(b"whose check sum", b"whose CHECK SUM"))
    with pytest.raises(InputError, match=r"cannot be read as a checkpoint: Bad CRC-32 for file 'archive/0\.pkl'"):
        open_pt(path)
    path.write_bytes(rezipped(unlisted, first={"archive/0.pkl": b"no pickle"}))
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        open_pt(path)
    path.write_bytes(rezipped(unlisted, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="was not opened: it holds a compressed pickle, which no checkpoint"):
        open_pt(path)
    path.write_bytes(unlisted.replace(b"archive/data.pkl", b"archive/DATA.PKL"))
    with pytest.raises(InputError, match=r"was not opened: it names collections\.Counter,"):
        open_pt(path)


@pytest.mark.fault("B2-43", "neither the environment nor another library can open the list", how="real")
def test_the_list_holds_whatever_the_process_allows(tmp_path, monkeypatch):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pt"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)
    with torch.serialization.safe_globals([tasks.DetectionModel, eval, tasks.parse_model]):
        before = set(torch.serialization.get_safe_globals())
        for kind in ("eval", "a function of a listed module", "a listed class that is called"):
            path.write_bytes(PAYLOADS[kind][0](marker))
            with pytest.raises(InputError, match="was not opened"):
                load_detector(str(path))
        assert set(torch.serialization.get_safe_globals()) == before
    assert not marker.exists()


@pytest.mark.fault("extra-hostile-names", "what a file calls itself cannot write on a terminal", how="real")
def test_names_in_a_file_are_printed_without_control_codes(tmp_path):
    path = tmp_path / "hostile.pt"
    path.write_bytes(b"\x80\x02cevil\x1b[2J\x1b]0;owned\x07\nname" + b"x" * 5000 + b"\n.")
    with pytest.raises(InputError) as caught:
        load_detector(str(path))
    assert str(caught.value).isprintable()
    assert r"names evil\x1b[2J" in str(caught.value)
    assert len(str(caught.value)) < 800


@pytest.mark.fault("extra-fuzz-pt", "a checkpoint with changed bytes is read or refused, never run", how="real")
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_are_read_or_refused(tmp_path_factory, changes):
    data = bytearray(saved({"ema": None, "weights": torch.arange(3.0), "git": {"root": "a"}}))
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.pt"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        assert isinstance(open_pt(path).content, dict)


# Every command --------------------------------------------------------------------------------------------------------


@pytest.mark.fault("B2-43", "every command that opens a .pt refuses a malicious one with exit 3", how="real")
@pytest.mark.parametrize("name", ["inspect", "layers", "run", "pretrain", "ptq", "sensitivity", "pace"])
def test_commands_exit_3_and_say_why(tmp_path, specification, monkeypatch, capfd, name):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pt"
    path.write_bytes(PAYLOADS["os.system"][0](marker))
    words = ["--checkpoint", path]
    if name not in ("inspect", "layers"):
        words = ["--spec", specification(path, bits=32 if name == "pretrain" else 4)]
        words += [] if name == "ptq" else ["--out", tmp_path / "out"]
    code, text = command(monkeypatch, capfd, name, *words)
    assert code == 3, text
    assert f"{path} was not opened: it names posix.system, which no checkpoint of a detector needs" in text
    assert f"--trust-checkpoint {sha256(path)}" in text
    assert not marker.exists()


@pytest.mark.fault("B2-43", "the checkpoint that an exported run started from is opened with the same care", how="real")
def test_the_start_of_an_exported_run_is_opened_with_the_same_care(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pt"
    path.write_bytes(PAYLOADS["eval"][0](marker))

    def of_hash(value):
        return types.SimpleNamespace(
            run_id="a",
            model=types.SimpleNamespace(checkpoint=str(path), checkpoint_sha256=value),
            training=types.SimpleNamespace(seed=0),
        )

    with pytest.raises(InputError, match=r"was not opened: it names __builtin__\.eval"):
        starting_detector(of_hash(sha256(path).removeprefix("sha256:")), None)
    with pytest.raises(InputError, match="put the file back"):  # another file is not even opened
        starting_detector(of_hash("0" * 64), sha256(path))
    assert not marker.exists()


@pytest.mark.fault("B2-43", "predict runs ONNX files alone, whatever Ultralytics would open", how="real")
def test_predict_opens_no_other_format(tmp_path, data):
    marker, path = tmp_path / "executed", tmp_path / "model.pt"
    path.write_bytes(PAYLOADS["os.system"][0](marker))
    with pytest.raises(SpecError, match=r"--model .*model\.pt: expected the model\.onnx of an export"):
        predict(path, [data / "theirs/images/val/0.jpg"], confidence=0.5, out=None, against=None)
    assert not marker.exists()


# The one way round ----------------------------------------------------------------------------------------------------


@pytest.fixture
def own_with_payload(detector, tmp_path):
    """A detector whose file runs something as well."""
    path = tmp_path / "theirs.pt"
    path.write_bytes(saved({"model": copy.deepcopy(detector), "more": Call(os.system, f"touch {tmp_path / 'ran'}")}))
    return path


@pytest.mark.fault("B2-43", "a file of the stated hash may run code, that file and no other", how="real")
def test_trust_is_for_one_file(own_with_payload, tmp_path, monkeypatch, capfd, caplog):
    trust = sha256(own_with_payload)
    code, text = command(
        monkeypatch, capfd, "inspect", "--checkpoint", own_with_payload, "--trust-checkpoint", f"sha256:{'0' * 64}"
    )
    assert code == 3
    assert f"(--trust-checkpoint is for another file, sha256:{'0' * 64})" in text
    with own_with_payload.open("ab") as file:
        file.write(b"\0")  # the same archive, another file
    code, _ = command(monkeypatch, capfd, "inspect", "--checkpoint", own_with_payload, "--trust-checkpoint", trust)
    assert code == 3
    assert not (tmp_path / "ran").exists()
    own_with_payload.write_bytes(own_with_payload.read_bytes()[:-1])
    words = ("inspect", "--checkpoint", own_with_payload, "--trust-checkpoint", trust)
    code, text = command(monkeypatch, capfd, *words)
    assert code == 0, text
    assert (tmp_path / "ran").exists()
    assert f"{own_with_payload}: code in this file may run, as --trust-checkpoint allows" in caplog.text


@pytest.mark.fault("B2-43", "a file that needs no trust is opened with care all the same", how="real")
def test_trust_that_is_not_needed_is_not_used(checkpoint, monkeypatch):
    monkeypatch.setattr("qat_train.unpickling._run", None)
    assert load_detector(str(checkpoint), trust=sha256(checkpoint)).names == NAMES


@pytest.mark.fault("B2-43", "trust is a key of a specification, and not a part of what a run is", how="real")
def test_trust_in_a_specification(own_with_payload, specification, monkeypatch, capfd, tmp_path):
    from qat_train.runner import spec_identity
    from qat_train.spec import read_spec

    plain = spec_identity(read_spec(specification(own_with_payload)), pretrain=False)
    spec = specification(own_with_payload, model=f'trust_checkpoint = "{sha256(own_with_payload)}"')
    assert spec_identity(read_spec(spec), pretrain=False) == plain
    assert load_detector(str(own_with_payload), trust=read_spec(spec).model.trust_checkpoint).names == NAMES
    spec = specification(own_with_payload, model='trust_checkpoint = "yes"')
    code, text = command(monkeypatch, capfd, "ptq", "--spec", spec)
    assert code == 2
    assert "model: trust_checkpoint 'yes': expected sha256: and 64 hexadecimal digits" in text


@pytest.mark.fault("B2-43", "trust in anything but one hash is no trust", how="real")
def test_trust_that_is_no_hash_is_refused(checkpoint, monkeypatch, capfd):
    code, text = command(monkeypatch, capfd, "inspect", "--checkpoint", checkpoint, "--trust-checkpoint", "all")
    assert code == 2
    assert "--trust-checkpoint 'all': expected sha256: and 64 hexadecimal digits" in text


# What is described as text --------------------------------------------------------------------------------------------

LINES = {
    "activation": lambda m: {"activation": touching(m)},
    "function": lambda m: {"backbone": [[-1, 1, "check_requirements", [f"evil; touch {m}"]]]},
    "torch": lambda m: {"backbone": [[-1, 1, "nn.init.torch.hub.load", [str(m), "evil"]]]},
    "download": lambda m: {"backbone": [[-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]]]},
    "dunder": lambda m: {"backbone": [[-1, 1, "__builtins__", []]]},
    "nonsense": lambda m: {"backbone": 7},
}


def test_what_is_no_layer_is_named_and_an_unknown_ultralytics_refused(detector, monkeypatch):
    for backbone, scale, named in (
        ([[-1, 1, "DetectionModel", ["gone.yaml"]]], 1, "'DetectionModel' is no layer of a detector"),
        ([[-1, 1, "check_requirements", ["gone"]]], 1, "'check_requirements' is no layer of a detector"),
        ([[-1, 1, "TorchVision", [64, "resnet18", "DEFAULT"]]], 1, "'TorchVision' is no layer of a detector"),
        ([[-1, 10**9, "nn.Identity", []]], 1, "nn.Identity 1000000000 times; 1 to 100 are allowed"),
        ([[-1, 3, "nn.Identity", []]], 1e9, "nn.Identity 3 times; 1 to 100 are allowed, with the scale's depth"),
    ):
        theirs = detector.yaml | {"backbone": backbone, "scales": {"n": [scale, 1, 1024]}}
        with pytest.raises(InputError, match=f"the checkpoint's architecture cannot be built: {named}"):
            build_detector(theirs, NAMES, 80)
    monkeypatch.setattr(tasks, "DetectionModel", lambda *_, **__: Path("/gone/architecture.yaml").read_text())
    with pytest.raises(InputError, match=r"the checkpoint's architecture cannot be built: .*No such file"):
        build_detector(detector.yaml, NAMES, 80)
    monkeypatch.delattr(tasks, "_SafeLoad")
    with pytest.raises(ResourceError, match="this Ultralytics evaluates what a checkpoint says; install ultralytics>="):
        build_detector(detector.yaml, NAMES, 80)


@pytest.mark.fault("B2-43", "an architecture in a checkpoint evaluates nothing, calls layers alone", how="real")
@pytest.mark.parametrize("line", LINES)
def test_an_architecture_of_a_stranger_evaluates_nothing(detector, tmp_path, line, monkeypatch):
    monkeypatch.setattr(tasks, "SAFE_LOAD", False)  # as in a process that asks for no care
    marker = tmp_path / "executed"
    theirs = copy.deepcopy(detector.yaml) | LINES[line](marker)
    with pytest.raises(InputError, match="the checkpoint's architecture cannot be built"):  # ours, in checkpoint.json
        build_detector(theirs, NAMES, 80)
    model = copy.deepcopy(detector)
    model.yaml = theirs
    save_pt(model, tmp_path / "theirs.pt", train_arguments={})
    found = load_detector(str(tmp_path / "theirs.pt"))
    with pytest.raises(InputError, match="the checkpoint's architecture cannot be built"):
        match_classes(found, ("other", "names", "three"), rebuild=True)
    assert not marker.exists()
    if line == "activation":  # the payload is live
        with contextlib.suppress(Exception):
            tasks.DetectionModel(theirs, verbose=False)
        assert marker.exists()


@pytest.mark.fault("B2-43", "a file without a whole detector is refused with exit 3, not a traceback", how="real")
@pytest.mark.parametrize("attribute", ["yaml", "names"])
@pytest.mark.parametrize("value", [None, "https://example.invalid/evil.yaml", 7])
def test_a_detector_that_is_described_wrongly_is_refused(detector, tmp_path, attribute, value):
    model = copy.deepcopy(detector)
    setattr(model, attribute, value)
    save_pt(model, tmp_path / "odd.pt", train_arguments={})
    with pytest.raises(InputError, match=r"odd\.pt holds no whole detector"):
        load_detector(str(tmp_path / "odd.pt"))


@pytest.mark.parametrize(
    "layers",
    [{}, {"model": torch.nn.Sequential()}, {"model": torch.nn.Sequential(torch.nn.Identity())}],
    ids=["none", "empty", "no head"],
)
def test_a_detector_without_layers_is_refused(detector, tmp_path, layers):
    model = copy.copy(detector)
    model._modules = layers
    torch.save({"model": model}, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"odd\.pt holds no whole detector"):
        load_detector(str(tmp_path / "odd.pt"))


# What honest files need -----------------------------------------------------------------------------------------------


def used(model):
    model.args = DEFAULT_CFG  # what training leaves in a model, its loss too
    model.criterion = model.init_criterion()
    return model


@pytest.mark.fault("B2-43", "what Ultralytics saves in training is opened, with optimizer and results", how="real")
def test_a_checkpoint_of_ultralytics_training_is_opened(detector, tmp_path):
    model = used(copy.deepcopy(detector))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in list(model.parameters())[:3]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {
        "epoch": 3,
        "best_fitness": np.float64(0.5),
        "model": None,
        "ema": copy.deepcopy(model).half(),
        "updates": 12,
        "optimizer": optimizer.state_dict(),
        "scaler": {},
        "train_args": {"imgsz": 64, "project": Path("runs"), "classes": {1, 2}},
        "train_metrics": {"fitness": np.float32(0.25), "count": np.int64(4)},
        "train_results": {"epoch": [1.0, 2.0]},
        "date": "2026-01-01T00:00:00",
        "git": {"root": None},
    }
    torch.save(content, tmp_path / "last.pt")
    found = load_detector(str(tmp_path / "last.pt"))
    assert (found.variant, found.names, found.imgsz) == ("yolo10n", NAMES, 64)
    assert all(type(a) is type(b) for a, b in zip(found.model.modules(), model.modules(), strict=True))
    for name, value in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], value.half().to(value.dtype)), name
    del content["ema"]  # of whole modules, torch's weights-only unpickler reads the newer format alone
    for newer in (True, False):
        torch.save(content, tmp_path / "last.pt", _use_new_zipfile_serialization=newer)
        opened = open_pt(tmp_path / "last.pt").content
        assert opened["train_metrics"] == {"fitness": 0.25, "count": 4}
        assert opened["best_fitness"] == 0.5
        assert len(opened["optimizer"]["state"]) == 3


@pytest.mark.fault("B2-43", "names of an older Ultralytics are known", how="real")
def test_names_of_the_official_yolov10_files_are_known(detector, tmp_path, monkeypatch):
    old = type("YOLOv10DetectionModel", (tasks.DetectionModel,), {"__module__": "ultralytics.nn.tasks"})
    monkeypatch.setattr(tasks, "YOLOv10DetectionModel", old, raising=False)
    model = copy.deepcopy(detector)
    model.__class__ = old
    torch.save({"model": model}, tmp_path / "yolov10n.pt")
    monkeypatch.delattr(tasks, "YOLOv10DetectionModel")
    found = load_detector(str(tmp_path / "yolov10n.pt"))
    assert type(found.model) is tasks.DetectionModel
    assert found.variant == "yolo10n"


@pytest.mark.parametrize("activation", ["nn.ReLU()", "torch.nn.LeakyReLU(0.1)"])
def test_a_detector_of_another_activation_is_opened_and_rebuilt(detector, tmp_path, activation):
    kind = activation.partition("(")[0].rpartition(".")[2]
    model = tasks.DetectionModel(detector.yaml | {"activation": activation}, verbose=False)
    save_pt(model, tmp_path / "w.pt", train_arguments={})
    found = load_detector(str(tmp_path / "w.pt"))
    rebuilt, _ = match_classes(found, ("other", "names", "three"), rebuild=True)
    for read in (found.model, rebuilt):
        assert type(read.model[0].act).__name__ == kind


@pytest.mark.parametrize("layer", ["torch.nn.modules.activation.PReLU", "ultralytics.nn.modules.block.A2C2f"])
def test_a_layer_of_another_family_is_not_called_code(tmp_path, layer):
    path = tmp_path / "yolo12n.pt"
    module, _, name = layer.rpartition(".")
    path.write_bytes(rezipped(saved({}), extra={"archive/data.pkl": f"\x80\x02c{module}\n{name}\n.".encode("latin1")}))
    with pytest.raises(InputError) as caught:
        load_detector(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path} was not opened: it names {layer}, which is no layer of YOLOv10, YOLO11 or YOLOv8. ")
    assert "no checkpoint of a detector needs" not in text
    assert text.endswith(f"pass --trust-checkpoint {sha256(path)}")


# Each name of an older Ultralytics, and the module of today that pickle finds in its place.
MOVED = {
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks",
    "ultralytics.utils.loss.v10DetectLoss": "ultralytics.utils.loss",
    "ultralytics.yolo.data.YOLODataset": "ultralytics.data.dataset",
    "ultralytics.yolo.utils.IterableSimpleNamespace": "ultralytics.utils",
    "ultralytics.yolo.v8.YOLO": "ultralytics.models.yolo.model",
    "pathlib.WindowsPath": "pathlib",
}


def test_a_trusted_file_of_an_older_ultralytics_is_opened(tmp_path):
    path, windows = tmp_path / "old.pt", pathlib.WindowsPath
    names = "".join(f"c{name.rpartition('.')[0]}\n{name.rpartition('.')[2]}\n" for name in MOVED)
    pickled = b"\x80\x02}X\x05\0\0\0model(" + names.encode() + b"ts."
    path.write_bytes(rezipped(saved({}), extra={"archive/data.pkl": pickled}))
    found = open_pt(path, sha256(path)).content["model"]
    assert [kind.__module__.removesuffix("._local") for kind in found] == list(MOVED.values())
    assert found[-1] is pathlib.PosixPath
    assert pathlib.WindowsPath is windows


@pytest.mark.slow
@pytest.mark.fault("B2-43", "the list is exact: YOLOv10, YOLO11 and YOLOv8 need each of its layers", how="real")
def test_every_listed_layer_is_needed_and_none_is_missing(tmp_path):
    seen = set()
    for name in ("yolov10s", "yolov10m", "yolo11n", "yolo11x", "yolov8n"):
        model = used(tasks.DetectionModel(f"{name}.yaml", verbose=False))
        seen |= {f"{type(module).__module__}.{type(module).__name__}" for module in model.modules()}
        torch.save({"model": model.half()}, tmp_path / "w.pt")
        assert type(load_detector(str(tmp_path / "w.pt")).model) is tasks.DetectionModel
    assert seen == {f"{module}.{name}" for module, names in LAYERS.items() for name in names}


@pytest.mark.fault("extra-state-files", "our own tensors are safetensors, and damaged ones are refused", how="real")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8 + b"{}",
        (2**62).to_bytes(8, "little") + b"{}",
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'.ljust(60),
        pickle.dumps({"a": 1}),
    ],
)
def test_damaged_tensor_files_are_refused(tmp_path, content):
    path = tmp_path / "epoch00001-0.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"epoch00001-0\.safetensors: not read as safetensors"):
        read_tensors(path)


# Data folders ---------------------------------------------------------------------------------------------------------


def poison(path, marker):
    with path.open("wb") as file:
        np.save(file, np.array({"version": Call(os.system, f"touch {marker}")}, dtype=object), allow_pickle=True)


@pytest.mark.fault("B2-44", "a labels.cache that somebody wrote is never opened, in no folder", how="real")
def test_label_caches_are_not_opened_wherever_they_lie(data, tmp_path):
    marker = tmp_path / "executed"
    caches = [
        data / folder / kind / f"{split}.cache"
        for folder in ("theirs", "prepared")
        for kind in ("images", "labels")
        for split in ("train", "val")
    ]
    for cache in caches:
        poison(cache, marker)
    before = {path: path.read_bytes() for path in caches}
    prepare(read_yolo(data / "theirs/my.yaml"), tmp_path / "again", Request())
    assert not list((tmp_path / "again").rglob("*.cache"))
    for folder in (data / "prepared", tmp_path / "again"):
        for split in ("train", "val"):
            _, _, loader = square_loader(folder / "data.yaml", split, imgsz=64, batch=2, device=torch.device("cpu"))
            assert len(loader.dataset) == 2
    assert not marker.exists()
    assert {path: path.read_bytes() for path in caches} == before
    assert not list((tmp_path / "again").rglob("*.cache"))
    with contextlib.suppress(Exception):
        np.load(caches[0], allow_pickle=True)
    assert marker.exists()  # the payload is live


# Nothing is fetched or installed --------------------------------------------------------------------------------------

_HEARD = []
_REFUSING = []
_ASKS = {
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "subprocess.Popen",
    "os.system",
}


def _listen(event, arguments):
    if _HEARD and event in _ASKS:
        _HEARD.append((event, repr(arguments[:2])))
        if _REFUSING:
            raise OSError(f"a test refuses {event}")


sys.addaudithook(_listen)  # there is no way to take one off: it hears where a test asks it to


@contextlib.contextmanager
def heard(*, refuse=False):
    """What asks for a network or another program meanwhile, and whether it is refused."""
    found = []
    _REFUSING[:] = [None] * refuse
    _HEARD.append(None)
    try:
        yield found
    finally:
        found += _HEARD[1:]
        _HEARD.clear()
        _REFUSING.clear()


@pytest.mark.fault(
    "extra-offline", "describing data and opening weights asks for no network and no program", how="real"
)
def test_nothing_is_fetched_for_data_and_weights(data, checkpoint, tmp_path, monkeypatch):
    from matplotlib import font_manager
    from ultralytics.data import utils
    from ultralytics.utils import checks

    path = tmp_path / "theirs.pt"
    path.write_bytes(PAYLOADS["a package that would be installed"][0](None))
    with heard() as found:
        load_detector(str(checkpoint))
        with pytest.raises(InputError):
            load_detector(str(path))
        square_loader(data / "prepared/data.yaml", "val", imgsz=64, batch=2, device=torch.device("cpu"))
    assert found == []
    # The hook hears what Ultralytics alone would do, on a machine without the font that it fetches for plots.
    monkeypatch.setattr(checks, "USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    monkeypatch.setattr(utils, "check_font", inspect.unwrap(checks.check_font))  # it remembers what it has found
    with heard(refuse=True) as found, contextlib.suppress(Exception):
        utils.check_det_dataset(str(data / "prepared/data.yaml"))
    assert any(event.startswith("socket.") for event, _ in found)


@pytest.mark.fault("extra-offline", "a script in data.yaml that would fetch the images is not run", how="real")
@pytest.mark.parametrize("script", ["bash touch {}", "__import__('pathlib').Path('{}').touch()"])
def test_a_download_script_of_a_data_set_is_not_run(data, tmp_path, script):
    marker, path = tmp_path / "executed", tmp_path / "data.yaml"
    path.write_text(f'path: gone\ntrain: train.txt\nval: val.txt\nnames: [a]\ndownload: "{script.format(marker)}"\n')
    with pytest.raises(InputError, match="images not found"):
        square_loader(path, "val", imgsz=64, batch=2, device=torch.device("cpu"))
    assert not marker.exists()
