"""Series that are torn, doubled, zero or not numbers: what is not a number never reads as stable."""

import json

import pytest

from .commands import call

HEAD = "epoch,time,train/box_loss,metrics/mAP50-95(B)\n"


def rows(*values):
    return "".join(f"{epoch},{epoch}.5,1.0,{value}\n" for epoch, value in enumerate(values, start=1))


@pytest.fixture
def csv(tmp_path):
    def write(data):
        path = tmp_path / "results.csv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def verdict(path, *more):
    done = call("qat-report", "classify", path, "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


@pytest.mark.fault("B2-15", "results.csv with a torn last line or NULs at its end: read without, and said", how="real")
def test_a_torn_tail(csv):
    done = call("qat-report", "series", csv(HEAD + rows(0.1, 0.2) + "3,3.5,1.0"))
    assert (done.code, done.out, done.err) == (0, "1\t0.1\n2\t0.2\n", "line 4: torn last line, ignored\n")
    done = call("qat-report", "series", csv((HEAD + rows(0.1, 0.2)).encode() + bytes(512)))
    assert (done.code, done.err) == (0, "512 NUL bytes at the end, ignored\n")


@pytest.mark.fault("B2-15", "results.csv with an epoch twice: the later row counts, and it is said", how="real")
def test_an_epoch_that_was_written_twice(csv):
    done = call("qat-report", "series", csv(HEAD + rows(0.1, 0.2) + "2,9.5,1.0,0.3\n"))
    assert (done.code, done.out) == (0, "1\t0.1\n2\t0.3\n")
    assert done.err == "line 4: epoch 2 again after 2; the later rows count\n"


@pytest.mark.fault("B2-15", "results.csv damaged inside: exit 3 with file and line, no part of it is used", how="real")
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (HEAD + "1,1.5,1.0\n2,2.5,1.0,0.2\n", "2: 3 cells, the header has 4"),
        (HEAD.encode() + b"1,1.5,1.\x000,0.1\n2,2.5,1.0,0.2\n", "2: NUL byte inside the file"),
        (HEAD + "1,1.5,1.0,0.1\nx,2.5,1.0,0.2\n", "3, column 'epoch': 'x' is no epoch number, 0 to 999999"),
        (HEAD + "1,1.5,1.0,good\n", "2, column 'metrics/mAP50-95(B)': 'good' is no number"),
    ],
)
def test_damage_inside(csv, data, text):
    path = csv(data)
    done = call("qat-report", "classify", path, "--json")
    assert (done.code, done.out, done.err) == (3, "", f"error: {path}:{text}\n")


@pytest.mark.fault(
    "B2-15", "metrics.jsonl, the truth of a run, torn: exit 3 with file and line; no summary", how="real"
)
def test_a_torn_metrics_file(planted, tmp_path):
    folder = planted.run("yolo10n", 0).trajectory("yolo10n", 0)
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(whole[:-40])
    done = call("qat-report", "summarize", "--run", folder, "--method", "baseline", "--out", tmp_path / "out")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"error: {folder}/metrics.jsonl:6: not valid JSON: ")
    (folder / "metrics.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    done = call("qat-report", "summarize", "--run", folder, "--method", "baseline", "--out", tmp_path / "out")
    assert done.code == 3
    assert "metrics.jsonl: not the file that" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault(
    "B2-18", "NaN, infinity or nothing for a metric: missing, never a number, and never a success", how="real"
)
def test_a_metric_that_is_no_number(csv, planted, tmp_path):
    found, _ = verdict(csv(HEAD + rows(0.1, 0.2, 0.3, 0.3, "nan")))
    assert (found["final_value"], found["collapsed"], found["class"]) == (None, True, "diverged")
    assert planted.run("yolo10n", 0, values=(0.1, 0.2, 0.3, 0.3, None), after=None) is planted
    row = json.loads(planted.summary("yolo10n", "baseline", 0).read_text())
    assert (row["metrics"]["final_value"], row["status"], row["stability"]["collapsed"]) == (
        None,
        "completed-failed",
        True,
    )
    file = planted.summary("yolo10n", "ema", 0)
    file.write_text(file.read_text().replace('"best_value": 0.3', '"best_value": NaN'))
    for command in (
        ("qat-gate", "check", "--policy", "configs/gate.toml", "--out", tmp_path / "gate.json", file),
        ("qat-report", "compare", file, "--out", tmp_path / "out"),
    ):
        done = call(*command)
        assert (done.code, done.err) == (3, f"error: {file}: not valid JSON: NaN is not allowed\n")


@pytest.mark.fault("B2-19", "mAP 0 in every epoch: no-signal where a reference is known, never stable", how="real")
def test_zero_in_every_epoch(csv):
    path = csv(HEAD + rows(*[0.0] * 6))
    found, _ = verdict(path, "--fp32", "0.4")
    assert (found["class"], found["best_value"]) == ("no-signal", 0.0)
    found, _ = verdict(path)
    assert found["class"] != "stable"


@pytest.mark.fault("B2-16", "NaN loss once, then fine: class recovered, not stable; the gate says NO-GO", how="real")
def test_a_nan_that_was_survived(csv, planted):
    found, err = verdict(csv(HEAD + "1,1.5,nan,0.1\n" + rows(0.1, 0.2, 0.3, 0.3, 0.3, 0.3).partition("\n")[2]))
    assert found["class"] == "recovered"
    assert "epoch 1: nan-loss in train/box_loss" in err
    for variant in ("yolo10n", "yolo10s"):
        for seed in (0, 1):
            events = ((2, "nan-loss"), (2, "rollback")) if (variant, seed) == ("yolo10s", 1) else ()
            planted.run(variant, seed, events=events)
    code, decision = planted.decide()
    assert code == 4
    unmet = [c for c in decision["criteria"] if not c["met"]]
    assert any("yolo10s ema+qc seed 1 is recovered" in r["text"] for c in unmet for r in c["reasons"])
