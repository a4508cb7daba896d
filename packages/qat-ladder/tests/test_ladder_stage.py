"""A stage with the products replaced by scripts: order, arguments, failures, exit codes."""

import json
import signal
import subprocess
import sys
import time

import filelock
import pytest

import qat_artifacts
from qat_ladder import cells, dataset, gating, launch, stage, training
from qat_ladder.cells import Clock
from qat_ladder.errors import Busy, ConfigError, InputProblem, LadderError
from qat_ladder.estimate import seconds_per_epoch, spell
from qat_ladder.layout import Root
from qat_ladder.stage import run_stage

# Stands for every product: notes its command line, behaves as BEHAVIOUR says, leaves what the next part looks for.
SCRIPT = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
args = sys.argv[1:]
with (here / "calls.jsonl").open("a") as sink:
    sink.write(json.dumps(args) + "\\n")
behaviour = json.loads((here / "behaviour.json").read_text())
option = lambda name: args[args.index(name) + 1]
key = " ".join(args[:2])
for pattern, code in behaviour.items():
    if pattern in " ".join(args):
        print("error: made to fail", file=sys.stderr)
        if key == "qat-train run":
            pathlib.Path(option("--out"), "run.json").write_text("{}")
        sys.exit(code)
if key == "qat-data prepare":
    out = pathlib.Path(option("--out"))
    out.mkdir(parents=True)
    body = {"fingerprint": "ab" * 32, "classes": [{"name": "a"}], "train": {"images": 4, "notes": ["a note"]},
            "val": {"images": 2, "notes": []}}
    (out / "dataset.json").write_text(json.dumps(body))
    print(json.dumps(body))
elif key == "qat-data synth":
    pathlib.Path(option("--out")).mkdir(parents=True)
elif key == "qat-train inspect":
    print(json.dumps({"names": ["a"], "nc": 1, "sha256": "cd" * 32}))
elif key == "qat-train run":
    print("noise \\r  epoch 1/2  mAP50-95 raw 0.1  ema 0.1  3.0 s  about 3 s left", file=sys.stderr)
    pathlib.Path(option("--out"), "run.json").write_text(json.dumps({"out": option("--out")}))
elif key == "qat-qc run":
    out = pathlib.Path(option("--out"))
    out.mkdir(parents=True)
    import hashlib
    sha = hashlib.sha256(pathlib.Path(option("--run"), "run.json").read_bytes()).hexdigest()
    (out / "qc.json").write_text(json.dumps({"schema": "qat-qc/correction", "version": "1.0", "created_by": "x",
        "inputs": [{"schema": "file", "sha256": sha, "path": "../run.json"}]}))
elif key == "qat-report summarize":
    out = pathlib.Path(option("--out"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "run_summary.json").write_text("{}")
elif key == "qat-gate check":
    print("decision")
    pathlib.Path(option("--out")).write_text("{}")
elif key == "qat-report compare":
    pathlib.Path(option("--out"), "summary.md").write_text("# Table\\n\\n## Stability\\nmore")
"""


class Products:
    def __init__(self, folder):
        self.folder = folder
        (folder / "product.py").write_text(SCRIPT)
        self.behave({})

    def behave(self, behaviour):
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def argv(self, product, *arguments):
        return [sys.executable, str(self.folder / "product.py"), product, *map(str, arguments)]

    def calls(self):
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


@pytest.fixture
def products(tmp_path, monkeypatch):
    folder = tmp_path / "products"
    folder.mkdir()
    fake = Products(folder)
    monkeypatch.setattr(launch, "argv", fake.argv)
    return fake


def kinds(calls):
    return [" ".join(c[:2]) for c in calls]


def test_one_run_per_seed_then_three_rows_then_the_comparison(products, request_for, capsys):
    assert run_stage(request_for()) == 0
    calls = products.calls()
    per_seed = ["qat-train run", *["qat-report summarize"] * 2, "qat-qc run", "qat-report summarize"]
    first = ["qat-data synth", "qat-data prepare", "qat-train inspect"]
    assert kinds(calls) == [*first, *per_seed, *per_seed, "qat-report compare"]
    qc = next(c for c in calls if c[:2] == ["qat-qc", "run"])
    assert qc[qc.index("--weights") + 1] == "ema"
    shown = capsys.readouterr()
    assert "# Table" in shown.out
    assert "more" not in shown.out
    assert "index.html" in shown.out
    for text in ("This is the demo", "run root", "estimate   2 training runs", "train: a note", "epoch 1/2"):
        assert text in shown.err
    assert "estimate: about 9 s of training and validation left, 2 runs not finished" in shown.err
    assert "noise" not in shown.err


def test_the_specification_of_a_run_is_complete_and_absolute(products, request_for, tmp_path):
    import tomli

    run_stage(request_for(seeds=[3], device="cpu"))
    folder = tmp_path / "runs" / "trajectories" / "yolo10n" / "shared" / "seed3"
    spec = tomli.loads((folder / "run.toml").read_text())
    assert spec["run"] == {
        "run_id": "yolo10n/shared/seed3",
        "trajectory_id": "yolo10n/shared/seed3",
        "seed": 3,
        "series": ["raw", "ema"],
    }
    assert spec["training"]["device"] == "cpu"
    assert spec["data"]["dataset"] == str(tmp_path / "runs" / "data" / "abababababab")
    assert spec["model"]["checkpoint"].endswith("yolov10n-demo.pt")
    assert spec["ema"]["enabled"]
    assert spec["overrides"] == {"training.device": "cpu"}


def test_every_row_keeps_its_configuration_with_the_origin_of_each_key(products, request_for, tmp_path):
    run_stage(request_for(seeds=[0], settings=("training.lrf=0.25",)))
    text = (tmp_path / "runs" / "yolo10n" / "ema-qc" / "seed0" / "config.toml").read_text()
    assert "lrf = 0.25" in text
    assert "# --set training.lrf=0.25" in text
    assert 'name = "ema+qc"' in text


def test_the_separate_baseline_trains_without_ema(products, request_for, tmp_path):
    import tomli

    run_stage(request_for(seeds=[0], trajectory="separate"))
    base = tmp_path / "runs" / "trajectories" / "yolo10n"
    assert {p.name for p in base.iterdir()} == {"baseline", "ema", "ema-qc"}
    spec = tomli.loads((base / "baseline" / "seed0" / "run.toml").read_text())
    assert (spec["run"]["series"], spec["ema"]["enabled"]) == (["raw"], False)


def test_a_second_call_reuses_data_and_corrections_and_adds_seeds(products, request_for, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.calls()
    assert run_stage(request_for(seeds=[0, 1])) == 0
    again = kinds(products.calls())
    assert again[0] == "qat-data check"
    assert "qat-data prepare" not in again
    assert again.count("qat-qc run") == 1
    plan = json.loads((tmp_path / "runs" / "ladder.json").read_text())
    assert {c["seed"] for c in plan["cells"]} == {0, 1}


def test_a_diverged_cell_ends_in_6_after_the_others_were_finished(products, request_for, capsys):
    products.behave({"shared/seed0 --resume": 6})
    assert run_stage(request_for()) == 6
    calls = products.calls()
    assert kinds(calls).count("qat-train run") == 2
    assert kinds(calls).count("qat-qc run") == 1
    assert kinds(calls).count("qat-report summarize") == 6
    assert kinds(calls)[-1] == "qat-report compare"
    assert "error: seed0 of yolo10n/shared: made to fail" in capsys.readouterr().err


def test_a_failed_correction_ends_in_6_and_the_other_rows_stand(products, request_for):
    products.behave({"qat-qc run": 6})
    assert run_stage(request_for(seeds=[0])) == 6
    assert kinds(products.calls()).count("qat-report summarize") == 2


@pytest.mark.parametrize("code", [2, 3, 7])
def test_what_every_cell_would_die_of_stops_at_once_with_its_code(products, request_for, code):
    products.behave({"qat-train run": code})
    with pytest.raises(LadderError, match="qat-train: made to fail") as found:
        run_stage(request_for())
    assert found.value.code == code
    assert kinds(products.calls()).count("qat-train run") == 1


def test_data_that_cannot_be_used_stop_before_any_training(products, request_for, tmp_path):
    products.behave({"qat-data prepare": 3})
    with pytest.raises(InputProblem, match="qat-data: made to fail"):
        run_stage(request_for())
    assert not (tmp_path / "runs" / "ladder.json").exists()


def test_a_dry_run_starts_and_writes_nothing(products, request_for, tmp_path, capsys):
    assert run_stage(request_for(dry_run=True)) == 0
    assert products.calls() == []
    assert not (tmp_path / "runs").exists()
    assert "yolo10n ema+qc seed 1 from trajectory shared" in capsys.readouterr().out


def test_a_busy_root_is_refused(products, request_for, tmp_path):
    root = Root(tmp_path / "runs")
    root.path.mkdir()
    with filelock.FileLock(root.lock), pytest.raises(Busy, match="another ladder is at work here") as found:
        run_stage(request_for())
    assert found.value.code == 5


def test_other_classes_are_fine_tuned_first(products, request_for, tmp_path, monkeypatch, capsys):
    text = (products.folder / "product.py").read_text()
    text = text.replace('"names": ["a"], "nc": 1', '"names": ["b", "c"], "nc": 2')
    text += '\nif key == "qat-train pretrain":\n    pathlib.Path(option("--out"), "model.pt").write_bytes(b"w")\n'
    (products.folder / "product.py").write_text(text)
    assert run_stage(request_for(seeds=[0])) == 0
    assert "qat-train pretrain" in kinds(products.calls())
    import tomli

    folder = tmp_path / "runs" / "pretrained" / "cdcdcdcdcdcd-abababababab"
    spec = tomli.loads((folder / "pretrain.toml").read_text())
    assert spec["quantization"] == {"bits": 32}
    assert spec["training"]["epochs"] == 32
    run = tomli.loads((tmp_path / "runs/trajectories/yolo10n/shared/seed0/run.toml").read_text())
    assert run["model"]["checkpoint"] == str(folder / "model.pt")
    assert run["overrides"] == {"pretrain.from": "yolov10n-demo.pt", "pretrain.epochs": 32}
    assert "0 of the data set's 1 classes are among the 2" in capsys.readouterr().err


def test_an_interrupted_stream_stops_the_child_first(tmp_path, monkeypatch):
    script = tmp_path / "slow.py"
    # Short naps: a signal that comes just before one long sleep begins would be handled only after it.
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    pathlib.Path(sys.argv[1]).write_text('stopped'); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('epoch 1/9 x', file=sys.stderr, flush=True)\n"
        "for _ in range(1200):\n    time.sleep(0.05)\n"
    )
    monkeypatch.setattr(launch, "argv", lambda *_: [sys.executable, str(script), str(tmp_path / "end")])

    def interrupt(_line):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch.stream("x", log=tmp_path / "log.txt", prefix="", watch=interrupt)
    assert (tmp_path / "end").read_text() == "stopped"
    assert time.monotonic() - started < 60
    assert signal.getsignal(signal.SIGINT) is not None


def test_the_clock_reads_first_epochs_only(capsys):
    clock = Clock(3)
    clock.watch("epoch 2/10  mAP50-95 raw 0.1  ema 0.1  5.0 s  about 40 s left")
    assert capsys.readouterr().err == ""
    clock.watch("epoch 1/10  mAP50-95 raw 0.1  ema 0.1  5.0 s  about 45 s left")
    assert "about 2 min of training and validation left, 3 runs" in capsys.readouterr().err


def test_estimates_grow_with_pixels_and_model(request_for, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    small = request_for(settings=("training.threads=2",)).resolve("ema").config
    large = request_for(settings=("training.threads=2", "training.imgsz=320")).resolve("ema").config
    assert seconds_per_epoch(large, 100, 0, 2) == pytest.approx(4 * seconds_per_epoch(small, 100, 0, 2))
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    assert seconds_per_epoch(small, 100, 0, 2) is None
    assert [spell(s) for s in (40, 119.4, 600, 7500)] == ["40 s", "119 s", "10 min", "2 h 05 min"]


def test_modules_share_one_launcher():
    assert cells.call is dataset.call is stage.call is training.call is launch.call


def test_a_correction_of_another_run_is_made_again(products, request_for, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.calls()
    qc = tmp_path / "runs/trajectories/yolo10n/shared/seed0/qc/qc.json"
    content = qat_artifacts.loads(qc.read_bytes())
    content["inputs"][0]["sha256"] = "0" * 64
    qc.write_text(json.dumps(content))
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    text = (products.folder / "product.py").read_text().replace("out.mkdir(parents=True)\n    import", "import")
    (products.folder / "product.py").write_text(text)
    run_stage(request_for(seeds=[0]))
    assert "qat-qc run" in kinds(products.calls())


def gate_request(request_for, root):
    return request_for(variant="yolo10m", seeds=[0], checkpoint="m.pt", root=root, dry_run=True)


def test_m_is_refused_on_no_go_and_started_on_go_or_for_a_reason(products, request_for, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gating, "argv", products.argv)
    run_stage(request_for(seeds=[0]))
    request = gate_request(request_for, tmp_path / "runs")
    assert gating.run_m(request, "") == 0
    products.behave({"qat-gate check": 4})
    assert gating.run_m(request, "") == 4
    assert "yolov10m is not started" in capsys.readouterr().err
    assert gating.run_m(request, "a trial") == 0
    assert "gate overridden: a trial" in capsys.readouterr().err


def test_a_gate_over_nothing_says_what_to_run_first(request_for, tmp_path):
    with pytest.raises(ConfigError, match=r"holds no run summary; run `invoke ladder\.n"):
        gating.run_m(gate_request(request_for, tmp_path / "empty"), "")


def test_data_that_changed_since_they_were_prepared_stop_the_ladder(products, request_for, tmp_path):
    run_stage(request_for(seeds=[0]))
    products.behave({"qat-data check": 3})
    with pytest.raises(InputProblem, match="qat-data: made to fail"):
        run_stage(request_for(seeds=[0]))
    products.behave({})
    (tmp_path / "runs" / "data" / "abababababab" / "dataset.json").unlink()
    text = (products.folder / "product.py").read_text()
    (products.folder / "product.py").write_text(text.replace('"ab" * 32', '"ef" * 32'))
    with pytest.raises(ConfigError, match="fingerprint abababababab there and efefefefefef now"):
        run_stage(request_for(seeds=[0]))
