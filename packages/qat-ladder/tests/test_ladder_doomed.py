"""--stop-doomed: what ends a training run, what is left of it, and how it goes on."""

import json
import sys
from pathlib import Path

import attrs
import pytest

from qat_ladder import doomed
from qat_ladder.campaign.file import Block, Campaign, Rows
from qat_ladder.campaign.running import run_campaign
from qat_ladder.campaign.units import in_order, open_blocks
from qat_ladder.doomed import Doomed, Watch, signs
from qat_ladder.executors.command import Command
from qat_ladder.layout import Root
from qat_ladder.stage import run_stage
from qat_ladder.status import describe

RECORDED = Path(__file__).parents[3] / "packages" / "qat-report" / "tests" / "fixtures"
HEADER = {"version": "1.0", "created_by": "test 1", "inputs": []}
STANDING = [{"sign": "metric-fall", "epochs": 3, "text": "0.1000, below 0.8 x the best before, 0.3000"}]


@pytest.fixture
def recorded(tmp_path):
    """A run that goes on, with these evaluations of raw and averaged weights; qat-report itself is asked about it."""

    def write(raw, ema):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        about = json.loads((RECORDED / "run" / "run.json").read_text(encoding="utf-8"))
        (folder / "run.json").write_text(json.dumps(about | {"status": "running", "inputs": []}), encoding="utf-8")
        base = json.loads((RECORDED / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
        lines = [
            base | {"epoch": i, "raw": base["raw"] | {"map50_95": r}, "ema": base["ema"] | {"map50_95": e}}
            for i, (r, e) in enumerate(zip(raw, ema, strict=True), start=1)
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        return folder

    return write


FELL, HELD, DIPPED = (0.4, 0.2, 0.1), (0.4, 0.4, 0.41), (0.4, 0.2, 0.4)


def test_run_is_doomed_when_a_sign_has_stood_for_two_epochs_in_every_series(recorded):
    text = "metric-fall for 2 epochs: 0.1000, below 0.8 x the best before, 0.4000"
    assert signs(recorded(FELL, FELL), ["raw", "ema"]) == f"raw {text}; ema {text}"


def test_series_that_is_alone_must_have_fallen_for_three(recorded):
    assert signs(recorded(FELL, FELL), ["raw"]) is None
    longer = (*FELL, 0.1)
    text = "raw metric-fall for 3 epochs: 0.1000, below 0.8 x the best before, 0.4000"
    assert signs(recorded(longer, longer), ["raw"]) == text


@pytest.mark.parametrize(
    ("raw", "ema", "why"),
    [
        (FELL, HELD, "the average holds"),
        (HELD, FELL, "the weights hold"),
        (DIPPED, DIPPED, "it came back"),
        (FELL[:2], FELL[:2], "one epoch is noise"),
    ],
)
def test_run_is_not_doomed(recorded, raw, ema, why):
    assert signs(recorded(raw, ema), ["raw", "ema"]) is None, why


MADE = RECORDED / "recorded" / "made-to-collapse"


@pytest.mark.parametrize(
    ("name", "after"),
    [("lr2e-3", 6), ("lr5e-3", 6), ("scale-lr", 3), ("lr2e-3-tensor", 8), ("lr1.5e-3", None), ("w4", None)],
)
def test_recorded_runs_are_doomed_after(tmp_path, name, after):
    lines = (MADE / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    about = json.loads((MADE / name / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(about | {"status": "running"}), encoding="utf-8")

    def found(end):
        (tmp_path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines[:end]), encoding="utf-8")
        return signs(tmp_path, ["raw", "ema"])

    if after is None:
        assert found(8) is None
    else:
        assert found(after - 1) is None
        assert found(after).startswith("raw metric-fall for ")


@pytest.mark.parametrize("name", ["lr1.5e-3", "w2-tensor"])
def test_raw_weights_that_dip_and_recover_are_not_doomed_alone(tmp_path, name):
    lines = (MADE / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    about = json.loads((MADE / name / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(about | {"status": "running"}), encoding="utf-8")
    for end in range(3, len(lines)):
        (tmp_path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines[:end]), encoding="utf-8")
        assert signs(tmp_path, ["raw"]) is None


def test_sign_of_the_training_as_a_whole_warns_and_stops_nothing(products, request_for):
    products.standing([{"sign": "switch-share", "epochs": 9, "text": "4.0% of all codes switch at each step"}])
    assert run_stage(request_for(seeds=[0], stop_doomed=True)) == 0


def test_question_that_cannot_be_answered_dooms_nothing_and_is_said(recorded, capsys):
    folder = recorded(FELL, FELL)
    (folder / "metrics.jsonl").write_text("{}\n")
    assert signs(folder, ["raw"]) is None
    shown = capsys.readouterr().err
    assert shown.startswith("--stop-doomed: qat-report warn: error: ")
    assert "metrics.jsonl:1: " in shown


def test_every_epoch_but_the_last_is_asked_about(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(doomed, "signs", lambda *about: asked.append(about) or "raw metric-fall")
    watch = Watch(folder=tmp_path, series=("raw",))
    watch("references: FP32 0.4")
    watch("epoch 12/12  mAP50-95 raw 0.1")
    assert asked == []
    with pytest.raises(Doomed, match=r"^raw metric-fall$"):
        watch("epoch 3/12  mAP50-95 raw 0.1")
    assert asked == [(tmp_path, ("raw",))]


def commands(calls):
    return [" ".join(call[:2]) for call in calls]


def stopped_summary(call):
    """What --stopped says in a call of summarize."""
    return call[call.index("--stopped") + 1]


def test_doomed_run_is_ended_and_its_rows_say_so(products, request_for, tmp_path, capsys):
    products.standing(STANDING)
    request = request_for(seeds=[0], stop_doomed=True)
    assert run_stage(request) == 6
    calls = products.calls()
    run = tmp_path / "runs/trajectories/yolo10n/shared/seed0"
    assert (run / "ended").read_text() == "SIGTERM"
    assert "qat-qc run" not in commands(calls)
    rows = [call for call in calls if call[:2] == ["qat-report", "summarize"]]
    text = "metric-fall for 3 epochs: 0.1000, below 0.8 x the best before, 0.3000"
    assert [stopped_summary(row) for row in rows] == [f"raw {text}; ema {text}"] * 3
    assert commands(calls)[-1] == "qat-report compare"
    shown = capsys.readouterr().err
    assert f"error: seed0 of yolo10n/shared: stopped: doomed, raw {text}; ema {text}; the same" in shown
    assert "the same command without --stop-doomed goes on with it" in shown

    assert run_stage(request) == 6  # again: what is doomed already is not started
    assert "qat-train run" not in commands(products.calls())

    assert run_stage(attrs.evolve(request, stop_doomed=False)) == 0
    calls = products.calls()
    (train,) = [call for call in calls if call[:2] == ["qat-train", "run"]]
    assert train[train.index("--resume") + 1] == "auto"
    assert "qat-report warn" not in commands(calls)
    assert not any("--stopped" in call for call in calls)


def test_run_that_lacks_its_end_alone_is_given_it(products, request_for, tmp_path):
    request = request_for(seeds=[0], methods=["baseline"])
    assert run_stage(request) == 0
    run = tmp_path / "runs/trajectories/yolo10n/shared/seed0"
    (run / "run.json").write_text(json.dumps({"schema": "qat-train/run", **HEADER, "status": "running"}))
    epochs = request.resolve("baseline").config.training.epochs
    (run / "metrics.jsonl").write_text("{}\n" * epochs)
    products.standing(STANDING)
    products.calls()
    assert run_stage(attrs.evolve(request, stop_doomed=True)) == 0
    calls = products.calls()
    assert "qat-train run" in commands(calls)
    assert not any("--stopped" in call for call in calls)


def test_run_that_ends_while_it_is_asked_about_has_the_exit_code_of_its_end(products, request_for, monkeypatch):
    products.standing(STANDING)
    codes = []

    def ends_badly(*_, log, folder, **__):
        codes.append(6)
        argv = (sys.executable, "-c", "import sys; print('epoch 1/2 ', file=sys.stderr); sys.exit(6)")
        return Command(argv=argv, name="x", log=log, folder=folder, hear=hear if len(codes) == 1 else lambda _: None)

    def hear(_line):
        raise Doomed("raw metric-fall")

    monkeypatch.setattr("qat_ladder.cells.command", ends_badly)
    monkeypatch.setattr("qat_ladder.cells.stoppable", lambda *_: False)
    assert run_stage(request_for(seeds=[0], methods=["baseline"], stop_doomed=True)) == 6
    assert len(codes) == 2
    assert not any("--stopped" in call for call in products.calls())


def test_run_is_not_asked_about_unless_wanted(products, request_for):
    products.standing([])
    run_stage(request_for(seeds=[0]))
    assert "qat-report warn" not in commands(products.calls())


def test_sound_run_is_trained_to_its_end(products, request_for):
    products.standing([])
    assert run_stage(request_for(seeds=[0], stop_doomed=True)) == 0
    calls = products.calls()
    assert commands(calls).count("qat-report warn") == 1  # of two epochs the first; one series without a sign is enough
    assert not any("--stopped" in call for call in calls)


def test_campaign_goes_on_after_a_doomed_run_and_says_what_stopped_it(products, project, tmp_path, capsys):
    products.standing(STANDING)
    one = Block(name="one", variant="yolo10n", rows=(Rows(methods=("baseline",), seeds=(0, 1), tier=1),))
    campaign = Campaign(name="c", command=(), budget_hours=None, blocks=(one,))
    assert run_campaign(campaign, project=project, root=tmp_path / "c", stop_doomed=True) == 6
    shown = capsys.readouterr()
    assert shown.out == "0 of 2 training runs done\n"
    text = "metric-fall for 3 epochs: 0.1000, below 0.8 x the best before, 0.3000"
    for seed in (0, 1):
        line = f"error: one shared seed{seed}: stopped: doomed after epoch 1 of 2: raw {text}"
        assert line in shown.err.splitlines()
    opened = open_blocks(campaign, project=project, root=tmp_path / "c")
    assert [unit.state() for unit in in_order(opened)] == ["stopped", "stopped"]


def test_status_says_what_stopped_a_row_until_it_goes_on(products, request_for, tmp_path):
    run_stage(request_for(seeds=[0], methods=["baseline"]))
    root = Root(tmp_path / "runs")
    run = root.trajectory("yolo10n", "shared", 0)
    (run / "run.json").write_text(json.dumps({"schema": "qat-train/run", **HEADER, "status": "running"}))
    (run / "metrics.jsonl").write_text("{}\n" * 5)
    error = "stopped: doomed after epoch 5 of 12: raw metric-fall for 2 epochs: 0.1"
    body = {"schema": "qat-report/run-summary", **HEADER, "status": "incomplete", "error": error}
    file = root.summary("yolo10n", "baseline", 0) / "run_summary.json"
    file.write_text(json.dumps(body | {"metrics": {"final_value": 0.1}}))
    assert describe(root).splitlines()[-1] == (
        "yolo10n baseline       seed 0  stopped: doomed after epoch 5 of 12: raw metric-fall for 2 epochs: 0.1"
    )
    (run / "metrics.jsonl").write_text("{}\n" * 6)
    assert "interrupted: training stopped after epoch 6" in describe(root)
