"""Arms that change training itself, in whole runs of yolov10n at 64 px: what is learned, watched and held."""

import hashlib
import json
import shutil
from pathlib import Path

import attrs
import modelopt.torch.opt as mto
import pytest
import torch
from PIL import Image
from ultralytics.nn.tasks import DetectionModel

import qat_artifacts
from qat_train.checkpoint import load_checkpoint
from qat_train.errors import InputError, SpecError
from qat_train.evaluator import hash_weights
from qat_train.insertion import active_quantizers, is_learned, layer_codes, layer_scale
from qat_train.metrics import read_metrics
from qat_train.policy import load_policy
from qat_train.preparation import policy_label, prepare
from qat_train.quantizer import initial_amax
from qat_train.runner import spec_identity
from qat_train.spec import intervention_names, read_spec
from qat_train.trainer import QatTrainer

# The random teacher's batch norms have no statistics: its maps are tiny, the student's relative error is huge.
ALL_ON = {"dampening": 0.1, "freezing": 0.005, "distillation": 1e-18}


def lines(folder):
    """Everything in metrics.jsonl that does not depend on the clock."""
    found = read_metrics(folder)
    points = [(getattr(r, n).map50_95, getattr(r, n).weights_sha256) for r in found for n in ("raw", "ema")]
    return points, [r.loss for r in found], [r.oscillation for r in found]


def scales(folder, series):
    model, _ = load_checkpoint(folder / "checkpoint/checkpoint.json", series)
    return {name: layer_scale(quantizer).detach().clone() for name, _, quantizer in active_quantizers(model)}


def test_learned_scales_move_in_an_optimizer_group_of_their_own(make_spec, train, tmp_path, monkeypatch):
    spec = make_spec(quantization={"learned": True, "scale_lr": 1e-3})
    prepared = prepare(spec, folder=tmp_path / "start", threads=1)
    prepared.quantize(prepared.model)
    start = {name: layer_scale(quantizer).clone() for name, _, quantizer in active_quantizers(prepared.model)}
    seen = {}

    def look(trainer, _original=QatTrainer._on_train_start):
        seen.update({g["param_group"]: g for g in trainer.optimizer.param_groups})
        seen["learned"] = [q._amax for _, _, q in active_quantizers(trainer.model) if is_learned(q)]
        _original(trainer)

    monkeypatch.setattr(QatTrainer, "_on_train_start", look)
    run, folder = train(spec)
    assert (run.quantization.scale.learned, run.quantization.scale.lr) == (True, 1e-3)
    group = seen["scale"]
    assert {id(p) for p in group["params"]} == {id(p) for p in seen["learned"]}
    assert len(group["params"]) == 106
    assert (group["initial_lr"], group["weight_decay"]) == (1e-3, 0.0)
    others = {id(p) for name in ("weight", "bn", "bias") for p in seen[name]["params"]}
    assert not others & {id(p) for p in group["params"]}
    moved, averaged = scales(folder, "raw"), scales(folder, "ema")
    # Not all of 106: a box branch to which no object was assigned in these four steps has no gradient.
    assert sum(not torch.equal(scale, start[name]) for name, scale in moved.items()) > 90
    assert all(bool((scale > 0).all()) for scale in moved.values())
    assert any(not torch.equal(averaged[name], moved[name]) for name in moved)


def test_learned_scales_survive_modelopt_save_and_restore(make_spec, tmp_path):
    spec = make_spec(quantization={"learned": True})
    prepared = prepare(spec, folder=tmp_path, threads=1)
    model = prepared.model
    prepared.quantize(model)
    with torch.no_grad():
        for _, _, quantizer in active_quantizers(model):
            quantizer._amax.mul_(1.25)
    other = prepare(spec, folder=tmp_path, threads=1).model
    assert isinstance(other, DetectionModel)
    mto.restore_from_modelopt_state(other, mto.modelopt_state(model))
    other.load_state_dict(model.state_dict())
    assert hash_weights(other) == hash_weights(model)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(other.eval()(image)[0], model.eval()(image)[0])


def test_run_with_everything_on_resumes_bit_for_bit(make_spec, train, train_cut_off):
    spec = make_spec(
        training={"epochs": 3, "lr0": 5e-3}, quantization={"bits": 3, "learned": True}, interventions=ALL_ON
    )
    run, whole = train(spec, "whole")
    assert lines(train_cut_off(spec, after=2)[1]) == lines(whole)
    assert run.training.interventions == ALL_ON
    final = read_metrics(whole)[-1]
    assert {"dampening", "distillation"} < final.loss.keys()
    assert final.loss["dampening"] > 0
    assert final.loss["distillation"] > 0
    assert final.oscillation.total.switches > 0


def test_watching_codes_is_recorded_and_changes_nothing(make_spec, train, tmp_path, monkeypatch):
    _, watched = train(make_spec(quantization={"bits": 2}), "watched")
    for record in read_metrics(watched):
        found = record.oscillation
        assert (found.momentum, found.threshold) == (0.01, 0.02)
        weights = sum(layer.weights for layer in found.layers.values())
        assert found.total.weights == weights == sum(found.total.distance)
        assert found.total.switches == sum(layer.switches for layer in found.layers.values()) > 0
        assert found.total.by_scale == 0  # the scales are fixed
        assert "model.0.conv" not in found.layers  # the stem has 8 bits, others 2
    monkeypatch.setattr("qat_train.trainer.Tracker.update", lambda self: None)
    _, blind = train(make_spec(quantization={"bits": 2}), "blind")
    assert lines(blind)[:2] == lines(watched)[:2]
    assert lines(blind)[2] != lines(watched)[2]
    prepared = prepare(make_spec(quantization={"bits": 2}), folder=tmp_path / "start", threads=1)
    prepared.quantize(prepared.model)
    final = scales(watched, "raw")
    for name, _, quantizer in active_quantizers(prepared.model):
        assert torch.equal(final[name], layer_scale(quantizer))  # fixed scales stay


def test_frozen_weights_keep_their_codes(make_spec, train, monkeypatch):
    """Their codes at the moment they freeze are their codes at the end of the training."""
    held = {}

    def watch(self, progress, _original=None):
        original(self, progress)
        held["last"] = {n: (f.clone(), self._code[n].clone()) for n, f in self._frozen.items()}
        held.setdefault("seen", []).append(sum(int(f.sum()) for f in self._frozen.values()))

    from qat_train.interventions.freezing import Freezing

    original = Freezing.after_step
    monkeypatch.setattr(Freezing, "after_step", watch)
    _, folder = train(
        make_spec(
            training={"epochs": 4, "lr0": 2e-2},
            quantization={"bits": 3, "learned": True},
            interventions={"freezing": 0.005},
        )
    )
    assert held["seen"] == sorted(held["seen"])
    assert held["seen"][-1] > 100
    model, _ = load_checkpoint(folder / "checkpoint/checkpoint.json", "raw")
    for name, conv, quantizer in active_quantizers(model):
        if name in held["last"]:
            frozen, code = held["last"][name]
            assert torch.equal(layer_codes(conv, quantizer)[frozen], code[frozen])


def test_scales_that_follow_are_those_of_the_last_weights_and_resume_bit_for_bit(
    make_spec, train, tmp_path, train_cut_off
):
    spec = make_spec(
        training={"epochs": 3, "lr0": 5e-3},
        quantization={"bits": 3, "init": "max"},
        interventions={"following": 1.0},
    )
    _, whole = train(spec, "whole")
    model, _ = load_checkpoint(whole / "checkpoint/checkpoint.json", "raw")
    prepared = prepare(spec, folder=tmp_path / "start", threads=1)
    prepared.quantize(prepared.model)
    before = {name: layer_scale(quantizer).clone() for name, _, quantizer in active_quantizers(prepared.model)}
    for name, conv, quantizer in active_quantizers(model):
        wanted = initial_amax(conv.weight, quantizer.num_bits, init="max", per_channel=True)
        assert torch.allclose(quantizer._amax.reshape(wanted.shape), wanted), name
        assert not torch.equal(layer_scale(quantizer), before[name]), name
    assert read_metrics(whole)[-1].oscillation.total.by_scale > 0
    assert lines(train_cut_off(spec, after=2)[1]) == lines(whole)


def test_float_control_trains_without_quantizers(make_spec, train):
    run, folder = train(make_spec(quantization={"bits": 32}))
    assert (run.quantization.mode, run.quantization.library, run.quantization.quantized_layers) == ("fp32", "none", 0)
    assert run.references.ptq is None
    assert run.references.fp32 is not None
    assert all(r.raw and r.ema and r.oscillation is None for r in read_metrics(folder))


def test_interventions_are_found_by_their_modules():
    assert intervention_names() == ("dampening", "distillation", "following", "freezing", "frozen_norms", "soft_labels")


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (
            "[interventions]\ndampning = 0.1",
            "interventions.dampning: unknown, known are dampening, distillation, following, freezing, frozen_norms, "
            "soft_labels",
        ),
        ("[interventions]\nfreezing = 0.0", "interventions.freezing must be a finite number above 0, found 0.0"),
        (
            "[interventions]\nfollowing = 1.5",
            "interventions.following is a share of the way, above 0 up to 1, found 1.5",
        ),
        (
            "[quantization]\nlearned = true\n[interventions]\nfollowing = 1.0",
            "interventions.following moves fixed scales; set quantization.learned = false",
        ),
        (
            "[interventions]\nfollowing = 1.0\nfreezing = 0.01",
            "interventions.following and interventions.freezing move each other without end",
        ),
        (
            "[quantization]\nbits = 32\n[interventions]\nfollowing = 1.0",
            "quantization.bits = 32 has no scales; leave interventions.following out",
        ),
        ("[quantization]\nbits = 32\nlearned = true", "quantization.bits = 32 has no scales"),
        ("[quantization]\nlearned = true\nscale_lr = 0.0", "scale_lr must be a finite number above 0, found 0.0"),
    ],
)
def test_wrong_arms_are_refused(tmp_path, section, text):
    path = tmp_path / "run.toml"
    path.write_text(
        '[run]\nrun_id = "a"\ntrajectory_id = "a"\nseed = 0\n[model]\nvariant = "yolo10n"\ncheckpoint = "a.pt"\n'
        '[data]\ndataset = "d"\n[training]\nepochs = 1\nimgsz = 64\nbatch = 4\nlr0 = 1e-3\nlrf = 0.1\n' + section + "\n"
    )
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert text in str(caught.value)


def test_checkpoint_of_another_variant_is_refused(make_spec, tmp_path):
    with pytest.raises(InputError) as caught:
        prepare(make_spec(model={"variant": "yolo10m"}), folder=tmp_path, threads=1)
    assert str(caught.value).endswith(
        "holds yolo10n, model.variant asks for yolo10m; give the right file, or the variant that it holds"
    )


def test_images_that_the_loader_drops_stop_a_run(make_spec, dataset, tmp_path):
    """Ultralytics ignores images under 10 px and says so in its log alone."""
    dataset = shutil.copytree(dataset.parent, tmp_path / "d") / "dataset.json"
    for split in ("train", "val"):
        Image.new("RGB", (8, 8)).save(dataset.parent / f"images/{split}/0.jpg")
    with pytest.raises(InputError, match=r"only 3 of 4 validation images can be loaded .*qat-data prepare"):
        prepare(make_spec(data={"dataset": str(dataset)}), folder=tmp_path, threads=1)


def test_a_run_that_was_begun_before_rules_had_a_share_goes_on(make_spec):
    spec = make_spec()
    body = qat_artifacts.unstructure(spec)
    for key in ("device", "workers", "threads"):
        del body["training"][key]
    del body["references"], body["overrides"], body["quantization"]["quantizer"], body["model"]["trust_checkpoint"]
    body["model"]["checkpoint"] = qat_artifacts.sha256_file(Path(spec.model.checkpoint))
    keys = ("name", "place", "kind", "bits")  # of a rule, as they were
    body["quantization"]["policy"] = [{key: getattr(r, key) for key in keys} for r in load_policy("default").rules]
    body["data"] = json.loads(Path(spec.data.dataset).read_text())["fingerprint"]
    old = hashlib.sha256(qat_artifacts.dumps([body, False]).encode()).hexdigest()
    assert spec_identity(spec, pretrain=False) == old
    small = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, policy="small-8"))
    assert spec_identity(small, pretrain=False) != old


def test_policy_file_is_part_of_a_runs_identity(make_spec, tmp_path):
    policy = tmp_path / "own.toml"
    policy.write_text('[[rule]]\nbits = "base"\n[[rule]]\nplace = "dfl"\nbits = "float"\n')
    spec = make_spec(quantization={"policy": str(policy)})
    before, label = spec_identity(spec, pretrain=False), policy_label(str(policy))
    policy.write_text(policy.read_text() + '[[rule]]\nplace = "stem"\nbits = 8\n')
    assert spec_identity(spec, pretrain=False) != before
    assert policy_label(str(policy)) != label
    assert label.startswith("own-")
    assert policy_label("default") == "default"


def test_learned_scales_need_adam(make_spec):
    with pytest.raises(ValueError, match=r"learned = true needs training.optimizer Adam or AdamW.*found SGD"):
        make_spec(training={"optimizer": "SGD"}, quantization={"learned": True})
