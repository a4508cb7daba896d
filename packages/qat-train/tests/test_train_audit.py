"""The audit of a run: codes and statistics of the averaged weights against the raw ones."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_train.audit import Audit, add_up, audit, compare_layer, describe, with_statistics
from qat_train.checkpoint import load_checkpoint
from qat_train.errors import InputError
from qat_train.insertion import active_quantizers, layer_codes
from qat_train.metrics import read_metrics


def test_codes_that_differ_by_weight_and_by_scale_are_told_apart():
    raw = torch.tensor([[1.0, 2.4, -3.0, 0.2]])
    ema = torch.tensor([[1.0, 2.6, -3.0, 4.2]])
    one, wide = torch.tensor([[1.0]]), torch.tensor([[1.25]])
    same = compare_layer(raw, one, raw, one, 4)
    assert (same.differ, same.share, same.share_by_scale, same.scale_difference) == (0, 0.0, 0.0, 0.0)
    moved = compare_layer(raw, one, ema, one, 4)
    assert (moved.weights, moved.differ, moved.by_scale, moved.largest_distance) == (4, 2, 0, 4)
    # At 1.25 the codes are 1, 2, -2, 3: two differ, -3 only because the scale does.
    both = compare_layer(raw, one, ema, wide, 4)
    assert (both.differ, both.by_scale, both.largest_distance) == (2, 1, 3)
    assert both.scale_difference == both.largest_scale_difference == pytest.approx(0.25)


@given(st.integers(0, 2**16), st.integers(2, 8), st.floats(0.5, 2))
def test_shares_add_up_over_layers(seed, bits, factor):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for channels in (2, 5):
        raw = torch.randn(channels, 3, 1, 1, generator=generator)
        ema = raw + 0.1 * torch.randn(raw.shape, generator=generator)
        scale = torch.full((channels, 1, 1, 1), 0.2)
        found.append(compare_layer(raw, scale, ema, scale * factor, bits))
    total = add_up(found)
    assert (total.weights, total.scales) == (21, 7)
    assert total.differ == sum(layer.differ for layer in found)
    assert total.scale_difference == pytest.approx(abs(factor - 1), abs=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset, checkpoint):
    """A completed run of two epochs."""
    from qat_train.runner import execute
    from qat_train.spec import DataKey, ModelKey, RunKey, RunSpec, TrainingKey

    out = tmp_path_factory.mktemp("audited")
    spec = RunSpec(
        run=RunKey(run_id="tiny/seed0", trajectory_id="tiny/seed0", seed=0),
        model=ModelKey(variant="yolo10n", checkpoint=str(checkpoint)),
        data=DataKey(dataset=str(dataset)),
        training=TrainingKey(epochs=2, imgsz=64, batch=4, lr0=1e-3, lrf=0.1, device="cpu"),
    )
    execute(spec, out, threads=2, report=lambda record, epochs: None)
    return out


def test_audit_counts_what_the_checkpoints_say_and_its_own_series_are_the_last_epoch(finished):
    record = audit(finished, evaluate=True, device=None, threads=2)
    path = finished / "checkpoint" / "checkpoint.json"
    raw, ema = (load_checkpoint(path, series)[0] for series in ("raw", "ema"))
    assert set(record.layers) == {name for name, _, _ in active_quantizers(raw)}
    for (name, *layer), (_, *averaged) in zip(active_quantizers(raw), active_quantizers(ema), strict=True):
        assert record.layers[name].differ == int((layer_codes(*layer) != layer_codes(*averaged)).sum())
    assert 0 < record.total.differ == sum(layer.differ for layer in record.layers.values())
    assert (record.epoch, record.total.by_scale, record.total.scale_difference) == (2, 0, 0.0)  # fixed scales
    last = read_metrics(finished)[-1]
    found = {(h.weights, h.statistics): h.evaluation for h in record.hybrids}
    for series in ("raw", "ema"):
        measured = getattr(last, series)
        assert found[series, series].weights_sha256 == measured.weights_sha256
        assert found[series, series].map50_95 == measured.map50_95
    assert len({point.weights_sha256 for point in found.values()}) == 4
    text = describe(record)
    assert "all layers" in text
    assert "ema      raw" in text


def test_statistics_alone_are_exchanged(finished):
    path = finished / "checkpoint" / "checkpoint.json"
    raw, ema = (load_checkpoint(path, series)[0] for series in ("raw", "ema"))
    mixed = with_statistics(raw, ema).state_dict()
    for name, value in mixed.items():
        source = ema if "running_" in name or "num_batches" in name else raw
        assert torch.equal(value, source.state_dict()[name]), name


def change(folder, **keys):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | keys))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"status": "running"}, "a completed run with a checkpoint is needed, this one is: running"),
        (
            {"status": "failed", "error": "no disk"},
            "a completed run with a checkpoint is needed, this one is: failed, no disk",
        ),
        ({"series": ["raw"]}, "both series are needed, raw and ema; this run kept no ema"),
        ({"series": ["ema"]}, "both series are needed, raw and ema; this run kept no raw"),
    ],
)
def test_run_that_cannot_be_audited_is_refused_with_the_reason(finished, tmp_path, keys, expected):
    shutil.copytree(finished, tmp_path / "run")
    change(tmp_path / "run", **keys)
    with pytest.raises(InputError) as caught:
        audit(tmp_path / "run", evaluate=False, device=None, threads=2)
    assert str(caught.value).startswith(f"{tmp_path / 'run'}: {expected}")


def test_command_writes_the_artifact_prints_a_table_and_exits_3_where_there_is_no_run(finished, tmp_path):
    command = [sys.executable, "-m", "qat_train", "audit", "--out", tmp_path / "audit.json", "--run"]
    done = subprocess.run([*command, finished], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny/seed0, epoch 2: codes of the EMA weights against the raw weights")
    record = qat_artifacts.read(tmp_path / "audit.json", Audit)
    assert record.hybrids is None
    assert {ref.schema for ref in qat_artifacts.read_header(tmp_path / "audit.json").inputs} == {
        "qat-train/run",
        "qat-train/checkpoint",
    }
    missing = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert missing.returncode == 3
    assert missing.stderr.strip().splitlines()[-1].startswith("error: ")
