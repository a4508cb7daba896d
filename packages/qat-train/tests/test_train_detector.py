"""Loading detectors: nothing is executed, classes meet by name, reparameterisation is exact."""

import hashlib
import json
import pickle

import pytest
import torch
from click.testing import CliRunner

from qat_train.cli import cli
from qat_train.detector import (
    build_detector,
    class_width,
    load_detector,
    make_trainable,
    match_classes,
    reparameterise,
    same_classes,
    save_pt,
    set_head,
)
from qat_train.errors import InputError
from qat_train.official import fetch_official


def test_checkpoint_that_runs_code_is_refused_and_leaves_no_trace(tmp_path):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "hostile.pt"
    torch.save({"model": Payload()}, path)
    with pytest.raises(InputError, match=r"hostile\.pt was not opened: it names io\.open"):
        load_detector(str(path))
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.pt cannot be read as a checkpoint"):
        load_detector(str(path))


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InputError) as caught:
        load_detector(str(tmp_path / "yolov10n.pt"))
    assert str(caught.value) == (
        f"model.checkpoint: {tmp_path / 'yolov10n.pt'} does not exist; give a .pt file, or put the weights there"
    )


def test_unknown_architecture_is_named():
    with pytest.raises(InputError, match="no architecture 'yolov10q' in Ultralytics"):
        load_detector("scratch:yolov10q")


@pytest.mark.parametrize("architecture", ["yolov8n-cls", "yolov8n-seg", "yolov8n-pose"])
def test_an_architecture_that_is_no_detector_is_refused_by_name(architecture):
    with pytest.raises(InputError, match=f"model.checkpoint: scratch:{architecture} is no detector: "):
        load_detector(f"scratch:{architecture}")


def test_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "list.pt"
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(InputError):
        load_detector(str(path))


def test_variant_and_classes_are_read(checkpoint):
    found = load_detector(str(checkpoint))
    assert (found.variant, found.names, found.imgsz) == ("yolo10n", ("disc", "square"), 64)


def test_another_family_is_variant_other():
    assert load_detector("scratch:yolo11n").variant == "other"


def test_class_names_match_without_case_or_order():
    assert same_classes(["Disc ", "square"], ["square", "disc"])
    assert not same_classes(["disc"], ["disc", "square"])


def test_classes_in_another_order_move_the_rows_of_the_head(checkpoint):
    detector = load_detector(str(checkpoint))
    model, how = match_classes(detector, ["square", "disc"], rebuild=False)
    assert how == "by-name"
    before = detector.model.model[-1].one2one_cv3[0][-1].weight
    after = model.model[-1].one2one_cv3[0][-1].weight
    assert torch.equal(after, before[[1, 0]])


def test_other_classes_need_training_first(checkpoint):
    detector = load_detector(str(checkpoint))
    with pytest.raises(InputError) as caught:
        match_classes(detector, ["cat", "dog", "owl"], rebuild=False)
    assert "the checkpoint knows 2 classes (disc, square), the data set 3 (cat, dog, owl)" in str(caught.value)
    assert "qat-train pretrain" in str(caught.value)


def test_rebuilding_keeps_everything_but_the_class_outputs(checkpoint):
    detector = load_detector(str(checkpoint))
    model, how = match_classes(detector, ["cat", "dog", "owl"], rebuild=True)
    assert how == "rebuilt"
    assert torch.equal(model.model[0].conv.weight, detector.model.model[0].conv.weight)
    assert model.model[-1].one2one_cv3[0][-1].out_channels == 3


def test_rebuilt_class_outputs_are_those_of_the_seed_whatever_was_drawn_before(checkpoint):
    detector = load_detector(str(checkpoint))

    def rebuilt(seed):
        torch.rand(seed + 5)
        before = torch.get_rng_state()
        model, _ = match_classes(detector, ["cat", "dog", "owl"], rebuild=True, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return model.state_dict()

    first, again, other = rebuilt(0), rebuilt(0), rebuilt(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_reparameterised_model_computes_the_same():
    model = load_detector("scratch:yolov10s").model
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.weight, -1.5, 1.5)  # negative scales too
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = model.double()(images.double())[1]["one2one"]["scores"]
        merged = reparameterise(model)
        after = model(images.double())[1]["one2one"]["scores"]
    assert len(merged) == 2
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-9)


def test_every_parameter_but_dfl_trains():
    model = load_detector("scratch:yolov10n").model
    reparameterise(model)
    make_trainable(model)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["model.23.dfl.conv.weight"]


def test_one2one_head_is_chosen_where_there_is_one():
    assert set_head(load_detector("scratch:yolov10n").model) == "one2one"
    assert set_head(load_detector("scratch:yolov8n").model) == "one2many"


def test_saved_weights_come_back_in_half_precision(tmp_path):
    model = load_detector("scratch:yolov10n").model
    save_pt(model, tmp_path / "w.pt", train_arguments={"imgsz": 64})
    back = load_detector(str(tmp_path / "w.pt"))
    weight = model.model[0].conv.weight
    assert torch.equal(back.model.model[0].conv.weight, weight.half().float())
    assert back.imgsz == 64


def test_class_branches_keep_their_width_through_other_classes_and_are_rebuilt_with_it():
    coco = load_detector("scratch:yolov10n")
    few, how = match_classes(coco, ("a", "b", "c"), rebuild=True)
    assert how == "rebuilt"
    assert class_width(few) == class_width(coco.model) == 80  # a fresh model of three classes has 64
    again = build_detector(few.yaml, ("a", "b", "c"), class_width(few))
    again.load_state_dict(few.state_dict())
    with torch.no_grad():
        found = again.eval()(torch.zeros(1, 3, 64, 64))[0]
        assert torch.equal(found, few.eval()(torch.zeros(1, 3, 64, 64))[0])
    assert again.names == {0: "a", 1: "b", 2: "c"}


def test_official_weights_are_known_by_name_and_the_error_says_which_file_to_put_where(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no official weights are named mine\.pt"):
        fetch_official(tmp_path / "mine.pt")
    monkeypatch.setattr("qat_train.official.attempt_download_asset", _no_network)
    with pytest.raises(InputError) as caught:
        fetch_official(tmp_path / "yolov10n.pt")
    assert f"{tmp_path / 'yolov10n.pt'} does not exist and could not be fetched (no network)" in str(caught.value)
    assert "put the official yolov10n.pt of the Ultralytics assets there" in str(caught.value)
    (tmp_path / "yolov10s.pt").write_bytes(b"weights")
    fetch_official(tmp_path / "yolov10s.pt")
    shown = CliRunner().invoke(cli, ["fetch", "--checkpoint", str(tmp_path / "yolov10s.pt"), "--json"])
    assert json.loads(shown.stdout) == {
        "checkpoint": str(tmp_path / "yolov10s.pt"),
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def _no_network(_path):
    raise ConnectionError("no network")
