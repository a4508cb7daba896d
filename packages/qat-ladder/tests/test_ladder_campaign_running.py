"""A campaign with the products replaced by scripts: order, budget, failures, what a second call does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import filelock
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context

from qat_ladder import tasks
from qat_ladder.campaign.file import Block, Campaign, Rows
from qat_ladder.campaign.running import recorded, run_campaign
from qat_ladder.campaign.speed import Speeds, total
from qat_ladder.campaign.telling import as_text, survey
from qat_ladder.campaign.units import Opened, Unit, in_order, open_blocks
from qat_ladder.errors import Busy, ConfigError, LadderError
from qat_ladder.flags import Request
from qat_ladder.layout import Root

# What the products of `conftest` leave is enough for a ladder; here their artifacts are read.
ARTIFACTS = """
HEADER = {"version": "1.0", "created_by": "x", "inputs": []}
if key == "qat-train run":
    out = pathlib.Path(option("--out"))
    body = {"status": "completed", "training": {"epochs": 10}, "seconds": 600.0, "out": str(out)}
    (out / "run.json").write_text(json.dumps({"schema": "qat-train/run", **HEADER, **body}))
    (out / "metrics.jsonl").write_text('{"seconds": 60.0}\\n' * 10)
elif key == "qat-report summarize":
    run = json.loads(pathlib.Path(option("--run"), "run.json").read_text())
    whole = run["status"] == "completed" and "--failed" not in args
    status, value = ("completed-success", 0.25) if whole else ("incomplete", None)
    body = {"status": status, "metrics": {"final_value": value}}
    path = pathlib.Path(option("--out"), "run_summary.json")
    path.write_text(json.dumps({"schema": "qat-report/run-summary", **HEADER, **body}))
"""


@pytest.fixture
def products(products):
    script = products.folder / "product.py"
    failed = {"schema": "qat-train/run", "version": "1.0", "created_by": "x", "inputs": [], "status": "failed"}
    failed |= {"training": {"epochs": 10}, "seconds": 0.0}
    text = script.read_text().replace('"run.json").write_text("{}")', f'"run.json").write_text(json.dumps({failed}))')
    for drawn, number in (('"train": {"images": ', "192"), ('"val": {"images": ', "64")):
        text = re.sub(rf"{re.escape(drawn)}\d+", drawn + number, text)
    script.write_text(text + ARTIFACTS)
    return products


def block(name, *rows, **more):
    return Block(name=name, variant="yolo10n", rows=rows, **more)


def rows(*methods, seeds=(0, 1), tier=1):
    return Rows(methods=methods, seeds=seeds, tier=tier)


# Two blocks of drawn data; "dear" costs more by its image size.
DEAR = block("dear", rows("ema", "ema+qc"), rows("dampening", tier=2, seeds=(1,)), set={"training.imgsz": 320})
CHEAP = block("cheap", rows("baseline"), rows("learned", seeds=(3,)), rows("baseline", seeds=(7,), tier=3))


def campaign_of(*blocks, budget=None):
    return Campaign(name="c", command=("--file", "c.toml"), budget_hours=budget, blocks=blocks)


BOTH = campaign_of(DEAR, CHEAP)


@pytest.fixture
def run(project, tmp_path):
    """Run a campaign in tmp_path/runs; its clock shows 600 s for each training run that has ended."""

    def make(campaign=BOTH):
        def now():
            return 600.0 * len(list((tmp_path / "runs").rglob("run.json")))

        return run_campaign(campaign, project=project, root=tmp_path / "runs", now=now)

    return make


def trained(products):
    """Training runs that were started, as block/arm/seed."""
    outs = [Path(c[c.index("--out") + 1]) for c in products.calls() if c[:2] == ["qat-train", "run"]]
    return [f"{out.parts[-5]}/{out.parts[-2]}/{out.parts[-1]}" for out in outs]


IN_ORDER = [
    "cheap/shared/seed0",
    "cheap/learned-true/seed3",
    "dear/shared/seed0",
    "cheap/shared/seed1",
    "dear/shared/seed1",
    "dear/dampening-0.1/seed1",
    "cheap/shared/seed7",
]


def test_tier_by_tier_seed_by_seed_cheap_blocks_first(products, run, tmp_path, capsys):
    assert run() == 0
    assert trained(products) == IN_ORDER
    shown = capsys.readouterr()
    assert shown.out == "7 of 7 training runs done\n"
    assert "[1 of 7] cheap shared seed0: baseline" in shown.err
    assert "[3 of 7] dear shared seed0: ema, ema+qc" in shown.err
    assert "# Table" in shown.err  # of each stage
    assert (tmp_path / "runs" / "dear" / "yolo10n" / "ema-qc" / "seed1" / "run_summary.json").exists()
    assert recorded(tmp_path / "runs") == BOTH


ONE = campaign_of(block("cheap", rows("baseline", "ema+qc", seeds=(0,))))


def test_blocks_are_ordinary_run_roots_that_a_ladder_extends(products, run, request_for, tmp_path):
    from qat_ladder.stage import run_stage

    run(ONE)
    root = tmp_path / "runs" / "cheap"
    assert run_stage(request_for(root=root, seeds=[0], methods=["baseline"], resume="must")) == 0
    with pytest.raises(ConfigError, match=r"training\.epochs is 10 there and 11 now"):
        run_stage(request_for(root=root, seeds=[0], methods=["baseline"], settings=("training.epochs=11",)))


def test_the_same_call_again_does_nothing_and_more_rows_train_only_what_is_new(products, run, capsys):
    run(ONE)
    products.calls()
    capsys.readouterr()
    assert run(ONE) == 0
    assert products.calls() == []
    assert capsys.readouterr().out == "1 of 1 training runs done\n"
    more = attrs.evolve(ONE.blocks[0], rows=(*ONE.blocks[0].rows, rows("learned", seeds=(4,))))
    assert run(campaign_of(more)) == 0
    assert trained(products) == ["cheap/learned-true/seed4"]


def test_a_row_that_is_missing_is_made_from_the_run_that_is_there(products, run, tmp_path):
    run(ONE)
    products.calls()
    shutil.rmtree(tmp_path / "runs" / "cheap" / "yolo10n" / "ema-qc" / "seed0")
    shutil.rmtree(tmp_path / "runs" / "cheap" / "trajectories" / "yolo10n" / "shared" / "seed0" / "qc")
    assert run(ONE) == 0
    assert [" ".join(c[:2]) for c in products.calls()].count("qat-qc run") == 1


def test_a_budget_leaves_out_what_does_not_fit_and_the_same_call_goes_on(products, run, capsys):
    half = attrs.evolve(BOTH, budget_hours=0.5)  # three runs of ten minutes, by what the clock shows
    assert run(half) == 0
    assert trained(products) == IN_ORDER[:2]  # the next would take ten minutes and its start-up: more than are left
    shown = capsys.readouterr()
    last = shown.out.splitlines()
    assert last[0] == "2 of 7 training runs done"
    assert last[1].startswith("the budget of 0.5 h left out 5: dear shared seed0; cheap shared seed1; ")
    assert last[2] == "budget reached: the same command again goes on"
    assert "[1 of 7] cheap shared seed0: baseline; 30 min of the budget left" in shown.err
    assert run(attrs.evolve(BOTH, budget_hours=3.0)) == 0
    assert trained(products) == IN_ORDER[2:]
    assert capsys.readouterr().out == "7 of 7 training runs done\n"


def test_a_diverged_run_ends_in_6_after_the_others(products, run, capsys):
    products.behave({"cheap/trajectories/yolo10n/shared/seed0 --resume": 6})
    assert run(campaign_of(block("cheap", rows("baseline")))) == 6
    assert trained(products) == ["cheap/shared/seed0", "cheap/shared/seed1"]
    assert "error: cheap shared seed0: a row failed; see" in capsys.readouterr().err


@pytest.mark.parametrize("code", [2, 3, 7])
def test_a_fault_that_all_seeds_of_an_arm_share_costs_that_arm_alone(products, run, capsys, code):
    campaign = campaign_of(block("a", rows("baseline"), rows("learned", seeds=(0,))), block("b", rows("baseline")))
    products.behave({"a/trajectories/yolo10n/shared/seed0 --resume": code})
    assert run(campaign) == 6
    others = ["a/learned-true/seed0", "b/shared/seed0", "b/shared/seed1"]
    assert trained(products) == ["a/shared/seed0", *others]
    shown = capsys.readouterr()
    assert "error: a shared seed0: qat-train: made to fail" in shown.err
    assert "error: a shared seed1: not tried, for the fault above" in shown.err
    assert shown.out == "3 of 5 training runs done\n"
    products.behave({})
    assert run(campaign) == 0
    assert trained(products) == ["a/shared/seed0", "a/shared/seed1"]


@pytest.mark.parametrize("code", [130, 143])
def test_an_interrupted_training_run_stops_the_campaign(products, run, code):
    products.behave({"cheap/trajectories/yolo10n/learned-true/seed3": code})
    with pytest.raises(LadderError) as found:
        run()
    assert found.value.code == code
    assert trained(products) == IN_ORDER[:2]


def test_a_block_that_its_root_would_refuse_is_refused_before_anything_starts(products, run, tmp_path):
    run(campaign_of(DEAR))
    products.calls()
    changed = attrs.evolve(DEAR, set={"training.imgsz": 352})
    with pytest.raises(ConfigError) as found:
        run(campaign_of(CHEAP, changed))
    assert "block dear: " in str(found.value)
    assert "training.imgsz is 320 there and 352 now" in str(found.value)
    more = attrs.evolve(DEAR, rows=(*DEAR.rows, rows("dampening+ema", seeds=(1,))))
    with pytest.raises(ConfigError) as found:
        run(campaign_of(CHEAP, more))
    assert "dampening-0.1/seed1 validates raw weights, raw and ema are needed now" in str(found.value)
    assert products.calls() == []


def test_a_root_where_another_campaign_works_is_busy(products, run, tmp_path, monkeypatch):
    monkeypatch.setattr("qat_ladder.locking.PATIENCE", 0.0)
    (tmp_path / "runs").mkdir()
    with filelock.FileLock(tmp_path / "runs" / ".lock"), pytest.raises(Busy, match="another ladder is at work here"):
        run()
    assert products.calls() == []


def told(campaign, project, tmp_path):
    return survey(campaign, open_blocks(campaign, project=project, root=tmp_path / "runs"), tmp_path / "runs")


def test_the_plan_tells_units_states_time_and_disk_and_writes_nothing(products, project, tmp_path):
    found = told(attrs.evolve(BOTH, budget_hours=0.05), project, tmp_path)
    assert [f"{u['block']}/{u['arm']}/seed{u['seed']}" for u in found["units"]] == IN_ORDER
    assert found["total"]["states"] == {"waiting": 7}
    assert (found["total"]["runs"], found["total"]["rows"], found["total"]["rows_done"]) == (7, 9, 0)
    cheap = next(b for b in found["blocks"] if b["name"] == "cheap")
    assert (cheap["images"], cheap["runs"], cheap["bytes_left"]) == ([192, 64], 4, 4 * 22_300_000)
    assert found["total"]["seconds_left"] == pytest.approx(sum(u["seconds_left"] for u in found["units"]))
    within = [u["within_budget"] for u in found["units"]]
    assert within[0] is True
    assert False in within
    text = as_text(found)
    assert text.startswith(f"campaign c in {tmp_path / 'runs'}, a budget of 0.05 h a call\n")
    assert "7 training runs (7 waiting), 0 of 9 rows done; left: about" in text
    assert "beyond the budget: dampening" in text
    assert not (tmp_path / "runs").exists()
    assert products.calls() == []


def test_the_state_of_a_unit_is_read_from_its_folders(products, run, project, tmp_path):
    run()
    shared = tmp_path / "runs" / "dear" / "trajectories" / "yolo10n" / "shared"
    shutil.rmtree(tmp_path / "runs" / "dear" / "yolo10n" / "ema-qc" / "seed0")
    for folder in (tmp_path / "runs" / "dear" / "yolo10n" / "ema" / "seed1", shared / "seed1" / "qc"):
        shutil.rmtree(folder)
    text = (shared / "seed1" / "run.json").read_text()
    (shared / "seed1" / "run.json").write_text(text.replace("completed", "failed"))
    found = {f"{u['block']}/{u['arm']}/seed{u['seed']}": u for u in told(BOTH, project, tmp_path)["units"]}
    assert found["dear/shared/seed0"]["state"] == "interrupted"
    assert found["dear/shared/seed0"]["rows_done"] == 1
    assert found["dear/shared/seed1"]["state"] == "failed"
    assert found["cheap/shared/seed0"]["state"] == "done"
    assert found["cheap/shared/seed0"]["seconds_left"] == 0.0


def test_speed_is_that_of_the_arm_of_the_block_of_other_blocks_or_a_guess(products, run, project, tmp_path):
    def speeds(campaign):
        blocks = open_blocks(campaign, project=project, root=tmp_path / "runs")
        found = Speeds.of(blocks)
        return {unit.name: found.epoch(unit) for opened in blocks for unit in opened.units}, blocks

    guessed, _ = speeds(BOTH)
    assert guessed["dear dampening-0.1 seed1"] == pytest.approx(guessed["cheap shared seed0"] * 4, rel=1e-6)
    run(campaign_of(block("cheap", rows("baseline", seeds=(0,)))))
    measured, _ = speeds(BOTH)
    assert measured["cheap shared seed0"] == measured["cheap learned-true seed3"] == 60.0  # 600 s over ten epochs
    assert measured["dear dampening-0.1 seed1"] == pytest.approx(240.0)  # four times the pixels, one series as well
    folder = tmp_path / "runs" / "cheap" / "trajectories" / "yolo10n" / "learned-true" / "seed3"
    folder.mkdir(parents=True)
    text = (folder.parents[1] / "shared" / "seed0" / "run.json").read_text()
    (folder / "run.json").write_text(text.replace("completed", "running"))
    (folder / "run.toml").write_text('[run]\nseries = ["raw"]\n')
    (folder / "metrics.jsonl").write_text('{"seconds": 80.0}\n{"seconds": 100.0}\n')
    measured, blocks = speeds(BOTH)
    assert measured["cheap learned-true seed3"] == 90.0
    (unit,) = (u for opened in blocks for u in opened.units if u.run.arm == "learned-true")
    assert Speeds.of(blocks).left(unit) == pytest.approx(30.0 + 8 * 90.0)  # two epochs are done


def test_on_a_gpu_time_is_unknown_before_the_first_epoch_and_a_budget_lets_it_start(
    products, run, project, tmp_path, monkeypatch
):
    monkeypatch.setattr("qat_ladder.estimate.shutil.which", lambda name: "/usr/bin/" + name)
    found = told(BOTH, project, tmp_path)
    assert found["total"]["seconds_left"] is None
    assert "time is known after the first epoch" in as_text(found)
    assert run(attrs.evolve(BOTH, budget_hours=0.1)) == 0
    assert trained(products) == IN_ORDER[:1]


def test_a_sum_with_an_unknown_part_is_unknown():
    assert (total([1.0, 2.0]), total([]), total([1.0, None])) == (3.0, 0.0, None)


arms = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", "z"]), st.integers(1, 3), st.integers(0, 4)),
    unique_by=lambda t: (t[0], t[1], t[3]),
    max_size=20,
)


@given(arms=arms, costs=st.fixed_dictionaries({"a": st.floats(1, 9), "b": st.floats(1, 9)}))
def test_the_order_keeps_every_unit_and_its_three_rules(arms, costs):
    class Costed(Opened):
        work = property(lambda self: costs[self.block.name])

    request = Request(variant="yolo10n", project=Path(), seeds=[0], methods=["m"], root=Path())
    opened = []
    for name in "ab":
        own = [(arm, tier, rank) for where, arm, tier, rank in arms if where == name]
        units = tuple(
            Unit(block=name, tier=tier, rank=rank, request=request, run=(arm, place))
            for place, (arm, tier, rank) in enumerate(own)
        )
        opened.append(Costed(block=block(name, rows("m")), root=Root(Path()), images=None, units=units))
    found = in_order(opened)
    assert sorted(map(id, found)) == sorted(id(unit) for one in opened for unit in one.units)
    keys = [(unit.tier, unit.rank, costs[unit.block]) for unit in found]
    assert keys == sorted(keys)
    for name in "ab":  # within equal keys, the file's order
        places = [(u.tier, u.rank, u.run[1]) for u in found if u.block == name]
        assert places == sorted(places)


FILE = """
name = "told"
[[block]]
name = "cheap"
[[block.rows]]
methods = ["baseline"]
seeds = [0, 1]
"""


@pytest.fixture
def invoke(project, tmp_path, monkeypatch, capsys):
    """Call a task's body: exit code, stdout, stderr."""
    monkeypatch.setattr(tasks, "PROJECT", project)
    (tmp_path / "c.toml").write_text(FILE)

    def call(name, **flags):
        if name.endswith(("plan", "run")):
            flags |= {"file": str(tmp_path / "c.toml")}
        with pytest.raises(SystemExit) as ended:
            tasks.collection()[name].body(Context(), root=str(tmp_path / "runs"), **flags)
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return call


def test_the_tasks_from_plan_to_status(products, invoke, tmp_path):
    code, out, _ = invoke("campaign.plan", json=True, budget="2")
    found = json.loads(out)
    assert (code, found["name"], found["budget_hours"], found["total"]["states"]) == (0, "told", 2.0, {"waiting": 2})
    code, out, _ = invoke("campaign.run", dry_run=True)
    assert (code, out.splitlines()[0]) == (0, f"campaign told in {tmp_path / 'runs'}, no budget")
    assert not (tmp_path / "runs").exists()
    code, out, err = invoke("campaign.status")
    assert (code, out) == (2, "")
    assert f"error: {tmp_path / 'runs'} holds no campaign.json; run `invoke campaign.run --file F --root" in err
    code, out, err = invoke("campaign.run", set=["training.imgsz=96"], device="cpu")
    assert (code, out) == (0, "2 of 2 training runs done\n")
    spec = tomli.loads((tmp_path / "runs/cheap/trajectories/yolo10n/shared/seed0/run.toml").read_text())
    assert (spec["training"]["imgsz"], spec["training"]["device"]) == (96, "cpu")
    assert spec["overrides"] == {"profile": "demo", "training.imgsz": 96, "training.device": "cpu"}
    code, out, _ = invoke("campaign.status", json=True)
    assert (code, json.loads(out)["total"]["states"]) == (0, {"done": 2})


def test_wrong_flags_exit_2(products, invoke):
    code, out, err = invoke("campaign.run", budget="ten")
    assert (code, out, err) == (2, "", "error: --budget 'ten': expected hours above 0, such as 10 or 0.5\n")
    code, out, err = invoke("campaign.plan", profile="fulll")
    assert (code, out) == (2, "")
    assert "error: block cheap: --profile 'fulll': expected one of" in err
    assert "did you mean full?" in err


def test_other_data_say_which_blocks_join(products, invoke, tmp_path):
    (tmp_path / "c.toml").write_text(FILE)
    text = FILE + FILE.partition("\n[[block]]")[2].replace("name", "[[block]]\nname").replace("cheap", "other")
    (tmp_path / "c.toml").write_text(text + "[block.set]\ntraining.imgsz = 96\n")
    code, out, err = invoke("campaign.plan", json=True, coco_root=str(tmp_path / "coco"))
    assert code == 0
    assert err == "other is cheap on these data: its rows join that block\n"
    assert [b["name"] for b in json.loads(out)["blocks"]] == ["cheap"]


# Real parts --------------------------------------------------------------------------------------------------------

REPOSITORY = Path(__file__).parents[3]
TINY = """
name = "tiny"
[[block]]
name = "drawn"
coco_root = "$CAMPAIGN_DATA"
checkpoint = "assets/yolov10n-demo.pt"
profile = "tiny"
set = { training.device = "cpu" }
[[block.rows]]
methods = ["baseline", "ema+qc"]
seeds = [0]
[[block.rows]]
methods = ["dampening"]
seeds = [0]
tier = 2
"""


def start(*arguments, data):
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"CAMPAIGN_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def numbers(root):
    return {
        path.relative_to(root).as_posix(): [
            (p["epoch"], p["value"]) for p in json.loads(path.read_text())["metrics"]["history"]
        ]
        for path in root.glob("drawn/yolo10n/*/seed0/run_summary.json")
    }


@pytest.mark.slow
def test_a_campaign_that_is_interrupted_and_one_that_is_killed_go_on_to_the_same_numbers(tmp_path):
    data, file = tmp_path / "coco", tmp_path / "tiny.toml"
    file.write_text(TINY)
    command = [sys.executable, "-m", "qat_data", "synth", "--out", data, "--images", "20", "--val-images", "10"]
    subprocess.run([*map(str, command), "--imgsz", "96", "--seed", "3"], check=True, capture_output=True)
    flags = ("--file", file, "--root")
    whole = start("campaign.run", *flags, tmp_path / "whole", data=data)
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    assert out == "2 of 2 training runs done\n"
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        root = tmp_path / number.name
        process = start("campaign.run", *flags, root, data=data)
        epochs = root / "drawn/trajectories/yolo10n/shared/seed0/metrics.jsonl"
        while not epochs.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait() == code
        process.communicate()
        again = start("campaign.run", *flags, root, data=data)
        out, err = again.communicate()
        assert again.returncode == 0, err
        assert out == "2 of 2 training runs done\n"
        assert numbers(root) == numbers(tmp_path / "whole")
    made = start("campaign.report", "--root", tmp_path / "whole", data=data)
    out, err = made.communicate()
    assert made.returncode == 0, err
    text = Path(out.strip()).read_text()
    assert "| FP32, not quantized |" in text
    assert re.search(r"^\| ema\+qc \| [\d.]+ \| 1 of 1 \|", text.replace("**", ""), re.MULTILINE)
