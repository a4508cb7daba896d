"""A stage with the products replaced by scripts: order, arguments, failures, exit codes."""

import errno
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time

import filelock
import pytest

import qat_artifacts
from qat_ladder import cells, dataset, launch, stage, training
from qat_ladder.errors import Busy, ConfigError, InputProblem, LadderError, Unavailable
from qat_ladder.estimate import Clock, seconds_per_epoch, spell
from qat_ladder.layout import Root
from qat_ladder.locking import held, holder
from qat_ladder.plan import read_plan
from qat_ladder.stage import run_stage
from qat_ladder.status import cell_status


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
    assert qc[qc.index("--out") + 1].endswith("trajectories/yolo10n/shared/seed0/qc/ema-qc")
    assert [c[c.index("--series") + 1] for c in calls if c[1] == "summarize"] == ["raw", "ema", "ema"] * 2
    shown = capsys.readouterr()
    assert "# Table" in shown.out
    assert "more" not in shown.out
    assert "index.html" in shown.out
    for text in (
        "This is the demo",
        "run root",
        "estimate   2 of 2 training runs have epochs left",
        "train: a note",
        "epoch 1/2",
    ):
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
    assert spec["overrides"] == {"training.device": "cpu", "profile": "demo"}


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


def options(call):
    """Values of a command line's options, each name once."""
    return {name: call[i + 1] for i, name in enumerate(call[:-1]) if name.startswith("--")}


def test_each_method_corrects_in_its_own_folder_with_its_own_stages(products, request_for, tmp_path):
    names = ["bn", "ema+bn", "ema+bn+qc", "ema+qc-beta", "ema+qc-gamma", "qc"]
    assert run_stage(request_for(seeds=[0], methods=names)) == 0
    calls = products.calls()
    assert kinds(calls).count("qat-train run") == 1
    found = {pathlib.Path(o["--out"]).name: o for o in (options(c) for c in calls if c[:2] == ["qat-qc", "run"])}
    shown = {name: (o["--weights"], o["--stages"], o.get("--train"), o.get("--lr")) for name, o in found.items()}
    assert shown == {
        "bn": ("raw", "bn", None, None),
        "ema-bn": ("ema", "bn", None, None),
        "ema-bn-qc": ("ema", "bn,qc", "gamma,beta", "0.0001"),
        "ema-qc-beta": ("ema", "qc", "beta", "0.0001"),
        "ema-qc-gamma": ("ema", "qc", "gamma", "0.0001"),
        "qc": ("raw", "qc", "gamma,beta", "0.0001"),
    }
    rows = [options(c) for c in calls if c[1] == "summarize"]
    assert [pathlib.Path(row["--qc"]).name for row in rows] == [n.replace("+", "-") for n in names]
    assert not any("--sets" in row for row in rows)


def test_arms_are_told_to_training_and_what_they_set_to_the_report(products, request_for, tmp_path):
    import tomli

    request = request_for(seeds=[0], methods=["baseline", "learned", "learned+ema", "dampening", "fp32"])
    assert run_stage(request) == 0
    base = tmp_path / "runs" / "trajectories" / "yolo10n"
    spec = {p.name: tomli.loads((p / "seed0" / "run.toml").read_text()) for p in base.iterdir()}
    assert set(spec) == {"shared", "learned-true", "dampening-0.1", "bits-32"}
    assert {name: s["quantization"]["learned"] for name, s in spec.items() if s["quantization"]["learned"]} == {
        "learned-true": True
    }
    assert {name: s["interventions"] for name, s in spec.items() if "interventions" in s} == {
        "dampening-0.1": {"dampening": 0.1}
    }
    assert (spec["bits-32"]["quantization"]["bits"], spec["shared"]["quantization"]["scale_lr"]) == (32, 1e-5)
    assert {name: s["run"]["series"] for name, s in spec.items()} == {
        "shared": ["raw"],
        "learned-true": ["raw", "ema"],
        "dampening-0.1": ["raw"],
        "bits-32": ["raw"],
    }
    rows = {o["--method"]: o.get("--sets") for o in (options(c) for c in products.calls() if c[1] == "summarize")}
    assert rows == {
        "baseline": None,
        "learned": "quantization",
        "learned+ema": "quantization",
        "dampening": "training.interventions",
        "fp32": "quantization",
    }


def test_a_strength_that_is_given_is_in_the_name_of_the_run(products, request_for, tmp_path):
    import tomli

    request = request_for(seeds=[0], methods=["dampening"], settings=("interventions.dampening=0.5",))
    assert run_stage(request) == 0
    folder = tmp_path / "runs" / "trajectories" / "yolo10n" / "dampening-0.5" / "seed0"
    assert tomli.loads((folder / "run.toml").read_text())["interventions"] == {"dampening": 0.5}
    (row,) = (options(c) for c in products.calls() if c[1] == "summarize")
    assert row["--sets"] == "training.interventions"


def test_rows_that_need_weights_nobody_validated_are_refused_before_anything_is_written(
    products, request_for, tmp_path
):
    run_stage(request_for(seeds=[0], methods=["baseline"]))
    plan = (tmp_path / "runs" / "ladder.json").read_bytes()
    products.calls()
    with pytest.raises(ConfigError) as found:
        run_stage(request_for(seeds=[0, 1], methods=["ema"]))
    assert found.value.code == 2
    for text in (
        "shared/seed0 validates raw weights, raw and ema are needed now",
        "--resume never --methods baseline,ema",
    ):
        assert text in str(found.value)
    with pytest.raises(
        ConfigError, match=r"would be trained anew: name all rows .* \(--resume never --methods baseline"
    ):
        run_stage(request_for(seeds=[0], methods=["ema"], resume="never"))
    assert products.calls() == []
    assert (tmp_path / "runs" / "ladder.json").read_bytes() == plan
    assert run_stage(request_for(seeds=[0], methods=["baseline", "ema"], resume="never")) == 0
    assert run_stage(request_for(seeds=[0], methods=["baseline"])) == 0  # the run goes on validating what ema needs
    text = (tmp_path / "runs/trajectories/yolo10n/shared/seed0/run.toml").read_text()
    assert 'series = [\n    "raw",\n    "ema",\n]' in text


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


def test_a_failed_correction_ends_in_6_and_its_row_says_so_beside_the_others(products, request_for, tmp_path):
    products.behave({"qat-qc run": 6})
    assert run_stage(request_for(seeds=[0])) == 6
    calls = products.calls()
    assert kinds(calls)[-1] == "qat-report compare"
    rows = {call[call.index("--method") + 1]: call for call in calls if call[:2] == ["qat-report", "summarize"]}
    assert set(rows) == {"baseline", "ema", "ema+qc"}
    assert [method for method, call in rows.items() if "--failed" in call] == ["ema+qc"]
    assert "qat-qc: made to fail" in rows["ema+qc"][rows["ema+qc"].index("--failed") + 1]
    root = Root(tmp_path / "runs")
    (found,) = (cell_status(root, cell) for cell in read_plan(root).cells if cell.method == "ema+qc")
    assert (found.state, found.reason.startswith("no correction: qat-qc")) == ("failed", True)
    products.behave({})
    assert run_stage(request_for(seeds=[0])) == 0, "the same command tries it again"
    assert not any("--failed" in call for call in products.calls())


@pytest.mark.parametrize("code", [2, 3, 7])
def test_what_every_cell_would_die_of_stops_at_once_with_its_code(products, request_for, code):
    products.behave({"qat-train run": code})
    with pytest.raises(LadderError, match="qat-train: made to fail") as found:
        run_stage(request_for())
    assert found.value.code == code
    calls = kinds(products.calls())
    assert calls.count("qat-train run") == 1
    # The run had begun, its run.json says failed: a page without its rows would call the rest complete.
    assert calls[-4:] == [*["qat-report summarize"] * 3, "qat-report compare"]


def test_a_run_that_was_refused_before_it_began_leaves_no_row(products, request_for, monkeypatch):
    products.behave({"qat-train run": 2})
    monkeypatch.setattr("qat_ladder.cells.training_state", lambda _: None)
    with pytest.raises(LadderError, match="made to fail"):
        run_stage(request_for())
    assert not {"qat-report summarize", "qat-report compare"} & set(kinds(products.calls()))


def test_data_that_cannot_be_used_stop_before_any_training(products, request_for, tmp_path):
    products.behave({"qat-data prepare": 3})
    with pytest.raises(InputProblem, match="qat-data: made to fail"):
        run_stage(request_for())
    assert not (tmp_path / "runs" / "ladder.json").exists()


def test_a_dry_run_starts_and_writes_nothing(products, request_for, tmp_path, capsys):
    assert run_stage(request_for(dry_run=True)) == 0
    assert products.calls() == []
    assert not (tmp_path / "runs").exists()
    shown = capsys.readouterr().out
    assert "  yolo10n ema+qc         seed 1  waiting: not trained yet, from trajectory shared" in shown
    assert "estimate   2 of 2 training runs have epochs left, roughly" in shown
    assert run_stage(request_for(dry_run=True, coco_root=str(tmp_path))) == 0
    assert "not prepared yet" in capsys.readouterr().out
    assert run_stage(request_for(dry_run=True, coco_root=str(tmp_path / "none"), settings=("training.epochs=3",))) == 0
    shown = capsys.readouterr().out
    assert f"data       {tmp_path}/none: not there: give another --coco-root" in shown
    assert "note       3 epochs are too few to call a run stable: 5 are needed" in shown


@pytest.mark.parametrize(
    ("resumes", "told"), [(True, "interrupted: the same command goes on after the last finished epoch\n"), (False, "")]
)
def test_an_interrupted_ladder_says_how_to_go_on(resumes, told):
    code = (
        "from qat_ladder.tasks.frame import guard\n"
        f"def body():\n    raise KeyboardInterrupt\nguard(body, resumes={resumes})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, told)


@pytest.mark.parametrize(
    ("epochs", "state", "resume", "said"),
    [
        (0, None, "auto", "training"),
        (2, "running", "auto", "training goes on after epoch 2 of 6"),
        (2, "running", "never", "training"),
        (6, "running", "auto", "training goes on after epoch 6 of 6"),  # its end is still missing
        (6, "completed", "auto", "trained already"),
    ],
)
def test_what_a_run_is_about_to_do_is_announced(tmp_path, monkeypatch, epochs, state, resume, said):
    monkeypatch.setattr(cells, "training_state", lambda _: state)
    (tmp_path / "metrics.jsonl").write_text("{}\n" * epochs)
    assert cells._announced(tmp_path, 6, resume) == said


def test_a_busy_root_is_refused(products, request_for, tmp_path, monkeypatch):
    root = Root(tmp_path / "runs")
    root.path.mkdir()
    monkeypatch.setattr("qat_ladder.locking.PATIENCE", 0.0)
    with filelock.FileLock(root.lock), pytest.raises(Busy, match="another ladder is at work here; wait") as found:
        run_stage(request_for())
    assert found.value.code == 5


def test_a_busy_root_names_process_host_and_command(tmp_path, monkeypatch):
    root = Root(tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", ["/somewhere/invoke", "ladder.n", "--seeds", "0,1"])
    assert holder(root) is None
    with held(root):
        text = rf"process {os.getpid()} on {platform.node()}, since [-0-9T:]+\+00:00: invoke ladder.n --seeds 0,1"
        assert re.search(text, holder(root))
        with held(root):
            assert re.search(text, holder(root))  # a block inside another of the same process
        assert re.search(text, holder(root))
        monkeypatch.setattr("qat_ladder.locking._HELD", set())  # as in another process
        with pytest.raises(Busy, match=text), held(root, patience=0.0):
            pass
    assert holder(root) is None


def test_the_lock_of_a_killed_ladder_holds_nobody_up(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from qat_ladder.layout import Root\nfrom qat_ladder.locking import held\n"
        "with held(Root(pathlib.Path(sys.argv[1]))):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "runs"], check=False).returncode == -signal.SIGKILL
    with held(Root(tmp_path / "runs"), patience=0.0):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told to a child on Linux only")
def test_a_product_dies_with_a_ladder_that_is_killed(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "import pathlib, sys\nfrom qat_ladder import launch\n"
        "launch.argv = lambda *a: [sys.executable, *a[0].split()]\n"
        "launch.stream(sys.argv[1], log=pathlib.Path(sys.argv[2]), prefix='')\n"
    )
    pid = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, f"{script} {pid}", str(tmp_path / "log.txt")])
    while not (pid.exists() and pid.read_text()):
        assert parent.poll() is None
        time.sleep(0.02)
    child = int(pid.read_text())
    parent.kill()
    parent.wait()
    for _ in range(500):
        if not alive(child):
            break
        time.sleep(0.02)
    assert not alive(child)


def alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_must_takes_no_new_cell(products, request_for, tmp_path):
    with pytest.raises(ConfigError, match=r"--resume must: .*does not hold all of these cells"):
        run_stage(request_for(resume="must"))
    run_stage(request_for(seeds=[0]))
    assert run_stage(request_for(seeds=[0], resume="must")) == 0
    with pytest.raises(ConfigError, match="use --resume auto to add them"):
        run_stage(request_for(seeds=[0, 1], resume="must"))


def test_keep_going_finishes_the_other_cells_and_ends_in_6(products, request_for, tmp_path):
    products.behave({"shared/seed0 --resume": 7})
    assert run_stage(request_for(keep_going=True)) == 6
    assert (tmp_path / "runs/yolo10n/ema-qc/seed1/run_summary.json").exists()
    assert (tmp_path / "runs/yolo10n/ema-qc/seed0/run_summary.json").exists(), "a failed run has its rows too"


def test_other_classes_are_fine_tuned_first(products, request_for, tmp_path, monkeypatch, capsys):
    text = (products.folder / "product.py").read_text()
    text = text.replace('"names": ["a"], "nc": 1', '"names": ["b", "c"], "nc": 2')
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
    assert run["overrides"] == {
        "profile": "demo",
        "pretrain.from": "yolov10n-demo.pt",
        "pretrain.epochs": 32,
    }
    assert "0 of the data set's 1 classes are among the 2" in capsys.readouterr().err
    (folder / "run.json").write_text("{}")  # as qat-train leaves it
    with pytest.raises(ConfigError, match=r"holds weights made with pretrain\.epochs = 32, not 3; give the same again"):
        run_stage(request_for(seeds=[0, 1], settings=("pretrain.epochs=3",)))
    (folder / "run.json").unlink()
    # The default root is a relative one; run.toml lies elsewhere, and its paths are taken from there.
    monkeypatch.chdir(tmp_path)
    assert run_stage(request_for(seeds=[0], root=pathlib.Path("again"))) == 0
    run = tomli.loads((tmp_path / "again/trajectories/yolo10n/shared/seed0/run.toml").read_text())
    assert run["model"]["checkpoint"] == str(tmp_path / "again/pretrained/cdcdcdcdcdcd-abababababab/model.pt")


def test_classes_are_matched_as_qat_train_matches_them(products, request_for):
    text = (products.folder / "product.py").read_text()
    (products.folder / "product.py").write_text(text.replace('"names": ["a"], "nc": 1', '"names": [" A"], "nc": 1'))
    assert run_stage(request_for(seeds=[0])) == 0
    assert "qat-train pretrain" not in kinds(products.calls())


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
    qc = tmp_path / "runs/trajectories/yolo10n/shared/seed0/qc/ema-qc/qc.json"
    content = qat_artifacts.loads(qc.read_bytes())
    content["inputs"][0]["sha256"] = "0" * 64
    qc.write_text(json.dumps(content))
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    text = (products.folder / "product.py").read_text().replace("out.mkdir(parents=True)\n    import", "import")
    (products.folder / "product.py").write_text(text)
    run_stage(request_for(seeds=[0]))
    assert "qat-qc run" in kinds(products.calls())


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


def test_every_signal_that_ends_a_trainer_is_told():
    assert cells.signal_name(signal.SIGKILL) == "SIGKILL"
    assert cells.signal_name(signal.SIGRTMIN + 5) == f"signal {signal.SIGRTMIN + 5}"


def test_a_file_system_without_locks_of_the_kernel_holds_no_root(tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    told = "cannot be written: Function not implemented; choose another --root"
    with pytest.raises(Unavailable, match=told), held(Root(tmp_path / "runs"), patience=0):
        pass
