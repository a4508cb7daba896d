"""`qat-train ptq`: policies and initialisations side by side, nothing trained."""

import json
import subprocess
import sys

import attrs
import pytest

from qat_train.errors import SpecError
from qat_train.evaluator import Evaluator
from qat_train.insertion import active_quantizers
from qat_train.untrained import compare, describe


@pytest.fixture
def evaluations(monkeypatch):
    """Widths of the active quantizers of each evaluated model; drawn weights detect nothing, so mAP is made up here."""
    original = Evaluator.__call__
    seen = []

    def call(self, model, *, quantized_layers):
        point = original(self, model, quantized_layers=quantized_layers)
        seen.append({name: quantizer.num_bits for name, _, quantizer in active_quantizers(model)})
        return attrs.evolve(point, map50_95=0.5 - 0.01 * len(seen))

    monkeypatch.setattr(Evaluator, "__call__", call)
    return seen


def test_every_policy_is_measured_under_every_initialisation_at_its_own_width(make_spec, evaluations):
    spec = make_spec(quantization={"bits": 3})
    found = list(compare(spec, policies=("default", "small-8"), inits=("max", "mse"), threads=1))
    assert [(one.policy, one.init) for one in found] == [
        *(("default", "max"), ("default", "mse"), ("small-8", "max"), ("small-8", "mse")),
    ]
    floating, quantized = evaluations[::2], evaluations[1::2]
    assert floating == [{}] * 4
    for one, widths in zip(found, quantized, strict=True):
        assert one.layers == len(widths)
        assert one.wider_layers == sum(bits == 8 for bits in widths.values())
    assert found[2].wider_layers > found[0].wider_layers == 1 + 12
    assert 3 < found[0].bits_per_weight < found[2].bits_per_weight < 4
    assert found[0].code_bytes < found[2].code_bytes
    assert [one.ptq for one in found] == pytest.approx([0.48, 0.46, 0.44, 0.42])


def test_without_lists_it_is_what_the_specification_says(make_spec, evaluations):
    (one,) = compare(make_spec(quantization={"bits": 4, "init": "max"}), policies=(), inits=(), threads=1)
    assert (one.policy, one.init, one.fp32, one.ptq) == ("default", "max", pytest.approx(0.49), pytest.approx(0.48))
    head, titles, row = describe([one]).splitlines()
    assert head == "FP32 0.4900"
    assert row.split() == ["default", "max", "13", f"{one.bits_per_weight:.4f}", str(one.code_bytes), "0.4800"]
    assert len(row) == len(titles)


def test_a_floating_point_specification_has_nothing_to_measure(make_spec):
    with pytest.raises(SpecError, match="bits = 32 quantizes nothing; give 2 to 8 bits"):
        next(compare(make_spec(quantization={"bits": 32}), policies=(), inits=(), threads=1))


def test_the_command_prints_one_document_and_refuses_an_unknown_policy(make_spec, tmp_path):
    spec = make_spec()
    (tmp_path / "run.toml").write_text(
        f"""
[run]
run_id = "a"
trajectory_id = "a"
seed = 0
[model]
variant = "yolo10n"
checkpoint = "{spec.model.checkpoint}"
[data]
dataset = "{spec.data.dataset}"
[training]
epochs = 1
imgsz = 64
batch = 4
lr0 = 1e-3
lrf = 0.1
device = "cpu"
"""
    )
    command = [sys.executable, "-m", "qat_train", "ptq", "--spec", str(tmp_path / "run.toml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (one,) = json.loads(done.stdout)
    assert (one["policy"], one["init"], one["layers"]) == ("default", "mse", 106)
    failed = subprocess.run([*command, "--policy", "small"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "unknown policy 'small'; shipped are all, default, small-8" in failed.stderr
