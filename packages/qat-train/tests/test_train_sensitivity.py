"""Sensitivity of single layers, and the mixed policy within a budget."""

import copy
import json
import subprocess
import sys

import attrs
import pytest
import tomli
import torch
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_train.errors import SpecError
from qat_train.evaluator import Evaluator
from qat_train.insertion import active_quantizers, initialise_scales, insert_quantizers
from qat_train.mixed import LayerSensitivity, average_bits, choose_raised, packed_bytes, spare_bits
from qat_train.preparation import prepare
from qat_train.ranking import Sensitivity, figure
from qat_train.sensitivity import scan

# Four layers at the base, of four kinds; everything else in floating point but the stem, which has a width of its own.
LAYERS = ("model.1.conv", "model.2.cv1.conv", "model.5.cv2.conv", "model.22.cv2.conv")
POLICY = '[[rule]]\nplace = "stem"\nbits = 8\n' + "".join(f'[[rule]]\nname = "{n}"\nbits = "base"\n' for n in LAYERS)

DAMAGES = {"model.5.cv2.conv": 0.2, "model.1.conv": 0.1, "model.2.cv1.conv": -0.05}


@pytest.fixture
def spec(make_spec, tmp_path):
    (tmp_path / "four.toml").write_text(POLICY)
    return make_spec(quantization={"bits": 3, "policy": str(tmp_path / "four.toml")})


@torch.no_grad()
def features(model):
    """What the head reads for one image; the detections of random weights hardly depend on them."""
    read = []
    hook = model.model[-1].register_forward_pre_hook(lambda _, args: read.extend(x.flatten() for x in args[0]))
    model.eval()(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    hook.remove()
    return torch.cat(read)


@pytest.fixture
def evaluations(monkeypatch):
    """What was evaluated, (active layers, features); random weights detect nothing, so mAP is made up here."""
    original = Evaluator.__call__
    seen = []

    def call(self, model, *, quantized_layers):
        point = original(self, model, quantized_layers=quantized_layers)
        active = tuple(name for name, _, _ in active_quantizers(model))
        seen.append((active, features(model)))
        damage = DAMAGES.get(active[0], 0.0) if len(active) == 1 else 0.3 if active else 0.0
        return attrs.evolve(point, map50_95=0.5 - damage)

    monkeypatch.setattr(Evaluator, "__call__", call)
    return seen


def test_each_layer_alone_is_what_a_model_with_that_layer_alone_quantized_computes(spec, tmp_path, evaluations):
    record = scan(spec, tmp_path / "scan", bits_high=8, budget=None, threads=2)
    assert [active for active, _ in evaluations] == [
        (),
        ("model.0.conv", *LAYERS),
        *((name,) for name in LAYERS),
        ("model.0.conv", *LAYERS),
    ]
    prepared = prepare(spec, folder=tmp_path / "other", threads=2)
    for name, (_, computed) in zip(LAYERS, evaluations[2:-1], strict=True):
        model = copy.deepcopy(prepared.model)
        insert_quantizers(model, {name: 3}, "per-channel")
        initialise_scales(model, "mse")
        assert torch.equal(features(model), computed)
        assert not torch.equal(computed, evaluations[0][1])
    assert [layer.name for layer in record.layers][:2] == ["model.5.cv2.conv", "model.1.conv"]
    assert record.layers[-1].damage == pytest.approx(-0.05)
    assert all(0.001 < layer.weight_error < 0.2 for layer in record.layers)
    assert (record.layers[0].type, record.layers[0].bits) == ("SCDown depthwise 3x3", 3)


def test_record_policy_and_table_belong_together(spec, tmp_path, evaluations):
    out = tmp_path / "scan"
    record = scan(spec, out, bits_high=6, budget=4.5, threads=2)
    assert qat_artifacts.read(out / "sensitivity.json", Sensitivity) == record
    mixed = record.mixed
    assert (record.status, mixed.base, mixed.high, mixed.budget) == ("completed", 3, 6, 4.5)
    assert 3 < mixed.base_average <= mixed.average <= 4.5
    assert 0 < mixed.base_size_bytes <= mixed.size_bytes
    assert set(mixed.raised) <= {"model.5.cv2.conv", "model.1.conv"}
    assert mixed.raised
    # As a policy of a run: the fixed layer as it was, raised layers at the high width, the base with quantization.bits.
    again = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, policy=str(out / "policy.toml"), bits=4))
    bits = {k: v for k, v in prepare(again, folder=tmp_path / "u", threads=2).bits.items() if v}
    assert bits == {"model.0.conv": 8} | dict.fromkeys(LAYERS, 4) | dict.fromkeys(mixed.raised, 6)
    text = (out / "summary.md").read_text()
    assert "| model.5.cv2.conv |" in text
    assert f"| {mixed.size_bytes} |" in text
    assert (out / "damage.svg").read_text() == figure(record)
    other = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, init="max"))
    with pytest.raises(SpecError) as caught:
        scan(other, out, bits_high=8, budget=None, threads=2)
    assert str(caught.value) == f"{out} holds a scan of another specification; give another folder"


def test_scan_that_is_cut_off_measures_only_the_rest(spec, tmp_path, evaluations, monkeypatch):
    class Cut(Exception):
        pass

    counted = Evaluator.__call__
    left = [4]  # FP32, PTQ and two layers

    def cut(self, model, *, quantized_layers):
        if not left[0]:
            raise Cut
        left[0] -= 1
        return counted(self, model, quantized_layers=quantized_layers)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", cut)
        with pytest.raises(Cut):
            scan(spec, tmp_path / "scan", bits_high=8, budget=None, threads=2)
    partial = qat_artifacts.read(tmp_path / "scan" / "sensitivity.json", Sensitivity)
    assert (partial.status, len(partial.layers), partial.mixed) == ("running", 2, None)
    assert not (tmp_path / "scan" / "policy.toml").exists()

    evaluations.clear()
    resumed = scan(spec, tmp_path / "scan", bits_high=8, budget=None, threads=2)
    assert [active for active, _ in evaluations][:-1] == [(name,) for name in LAYERS[2:]]
    assert {layer.name: layer.map50_95 for layer in resumed.layers} == {n: 0.5 - DAMAGES.get(n, 0.0) for n in LAYERS}
    assert [layer.damage for layer in resumed.layers] == sorted(
        (layer.damage for layer in resumed.layers), reverse=True
    )
    assert (resumed.status, resumed.seconds > partial.seconds) == ("completed", True)
    assert resumed.references == partial.references

    evaluations.clear()
    scan(spec, tmp_path / "scan", bits_high=8, budget=3.2, threads=2)
    assert len(evaluations) == 1  # the new policy as a whole
    assert len(evaluations[0][0]) == 5


@pytest.mark.parametrize(
    ("bits", "high", "budget", "expected"),
    [
        (3, 3, 4.0, "--bits-high 3 must be above quantization.bits, which is 3"),
        (32, 8, 4.0, "quantization.bits = 32 quantizes nothing; set 2 to 7"),
        (3, 8, 3.0, "--budget 3: the policy needs 3.0"),
        (3, 8, float("nan"), "--budget must be a finite number of bits, found nan"),
    ],
)
def test_widths_and_budgets_that_cannot_be_are_refused_before_any_evaluation(
    spec, tmp_path, evaluations, bits, high, budget, expected
):
    wrong = attrs.evolve(spec, quantization=attrs.evolve(spec.quantization, bits=bits))
    with pytest.raises(SpecError) as caught:
        scan(wrong, tmp_path / "scan", bits_high=high, budget=budget, threads=2)
    assert str(caught.value).startswith(expected)
    assert evaluations == []


def test_policy_without_a_base_is_refused(spec, tmp_path):
    (tmp_path / "fixed.toml").write_text("[[rule]]\nbits = 5\n")
    fixed = attrs.evolve(spec.quantization, policy=str(tmp_path / "fixed.toml"))
    with pytest.raises(SpecError, match='gives no layer bits = "base"'):
        scan(attrs.evolve(spec, quantization=fixed), tmp_path / "scan", bits_high=8, budget=None, threads=2)


def test_command_exits_2_on_a_budget_below_the_base_and_0_with_one_document(dataset, checkpoint, tmp_path):
    (tmp_path / "four.toml").write_text(POLICY)
    (tmp_path / "run.toml").write_text(
        '[run]\nrun_id = "x"\ntrajectory_id = "x"\nseed = 0\n'
        f'[model]\nvariant = "yolo10n"\ncheckpoint = "{checkpoint}"\n'
        f'[data]\ndataset = "{dataset}"\n[training]\nepochs = 1\nimgsz = 64\nbatch = 4\nlr0 = 1e-3\nlrf = 0.1\n'
        f'device = "cpu"\n[quantization]\nbits = 3\npolicy = "{tmp_path / "four.toml"}"\n'
    )
    command = [
        sys.executable,
        "-m",
        "qat_train",
        "sensitivity",
        "--spec",
        tmp_path / "run.toml",
        "--out",
        tmp_path / "s",
    ]
    low = subprocess.run([*command, "--budget", "3"], capture_output=True, text=True, check=False)
    assert low.returncode == 2
    assert low.stderr.strip().splitlines()[-1].startswith("error: --budget 3: the policy needs 3.0")
    done = subprocess.run([*command, "--budget", "4", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mixed"]["raised"] == []  # random weights: there is no damage to see
    assert "layer 4/4  " in done.stderr
    assert "s left" in done.stderr
    tomli.loads((tmp_path / "s" / "policy.toml").read_text())


# --- the choice, as a pure function


def layer(name, elements, damage, error=0.0, bits=4):
    return LayerSensitivity(
        name=name, type="t", elements=elements, bits=bits, map50_95=0.5, damage=damage, weight_error=error
    )


layers = st.lists(
    st.builds(
        lambda elements, damage, error: layer("", elements, damage, error),
        st.integers(1, 10_000),
        st.sampled_from([-0.01, 0.0, 0.001, 0.01, 0.2]) | st.floats(-1, 1),
        st.floats(0, 1),
    ),
    max_size=12,
).map(lambda found: [attrs.evolve(one, name=f"layer{i}") for i, one in enumerate(found)])


@given(layers, st.integers(0, 200_000), st.integers(5, 8))
def test_choice_keeps_the_budget_and_leaves_out_nothing_that_fits(found, spare, high):
    raised = choose_raised(found, high=high, spare=spare)
    by_name = {one.name: one for one in found}
    spent = sum((high - 4) * by_name[name].elements for name in raised)
    assert spent <= spare
    assert all(by_name[name].damage > 0 for name in raised)
    for one in found:
        if one.name not in raised and one.damage > 0:
            assert (high - 4) * one.elements > spare - spent
    assert raised == choose_raised(list(reversed(found)), high=high, spare=spare)


@given(layers, st.integers(0, 100_000), st.integers(0, 100_000))
def test_a_larger_budget_keeps_every_layer_up_to_the_first_that_did_not_fit(found, spare, more):
    order = choose_raised(found, high=8, spare=10**9)
    assert set(order) == {one.name for one in found if one.damage > 0}
    small, large = (choose_raised(found, high=8, spare=s) for s in (spare, spare + more))
    kept = next((i for i, name in enumerate(order) if name not in small), len(order))
    assert large[:kept] == order[:kept] == small[:kept]


def test_ties_go_to_the_larger_weight_error_then_to_the_name():
    found = [layer("b", 10, 0.1, 0.2), layer("a", 10, 0.1, 0.2), layer("c", 10, 0.1, 0.3), layer("d", 5, 0.06)]
    assert choose_raised(found, high=8, spare=10**6) == ("d", "c", "a", "b")


@given(
    st.lists(st.tuples(st.integers(2, 8), st.integers(1, 10**6)), min_size=1, max_size=20),
    st.decimals(2, 12, places=3),
)
def test_spare_bits_never_let_the_average_exceed_the_budget(found, budget):
    widths = {str(i): bits for i, (bits, _) in enumerate(found)}
    elements = {str(i): n for i, (_, n) in enumerate(found)}
    needed, weights = sum(b * n for b, n in found), sum(n for _, n in found)
    if budget * weights < needed:
        with pytest.raises(SpecError, match="at its base"):
            spare_bits(float(budget), widths, elements)
    else:
        _, spare = spare_bits(float(budget), widths, elements)
        assert 0 <= needed + spare <= budget * weights < needed + spare + 1


def test_fixed_layers_count_and_bytes_are_filled_up():
    widths, elements = {"stem": 8, "body": 3}, {"stem": 10, "body": 30}
    assert average_bits(widths, elements) == pytest.approx(170 / 40)
    assert packed_bytes(widths, elements) == 10 + 12  # 90 bits
    assert spare_bits(None, widths, elements) == (pytest.approx(4.75), 20)
