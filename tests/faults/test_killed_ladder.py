"""A ladder that is killed at any moment, and called again, ends where one that was never cut ends."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .killing.campaign import (
    GATE,
    LADDER,
    Lab,
    by_stage,
    contents,
    differences,
    grow_old,
    lengths,
    points,
    printed,
    torn,
)

ROOT = Path(__file__).parents[2]
METHODS = ("baseline", "ema", "ema-qc")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def start(root, data, seeds):
    flags = ["--profile", "tiny", "--device", "cpu", "--seeds", seeds, "--coco-root", data, "--root", root]
    flags += ["--checkpoint", ROOT / "assets" / "yolov10n-demo.pt"]
    command = [sys.executable, "-m", "invoke", "ladder.n", *map(str, flags)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(root, data, seeds):
    process = start(root, data, seeds)
    text = printed(process)
    assert process.returncode == 0, text


def descendants(pid):
    """Processes below one, the youngest generation last."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*map(int, children), *(grand for child in children for grand in descendants(child))]


def kill_after(process, seconds, *, victim):
    """SIGKILL the ladder, or the product that it runs; False where all was done before."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        below = descendants(process.pid)
        target = process.pid if victim == "ladder" or not below else below[-1]
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself just now
            process.kill()
        process.communicate()
        return True
    text = printed(process)
    assert process.returncode == 0, text
    return False


def lines(root):
    """Finished epochs of every training run, as they were written."""
    return {str(p.relative_to(root)): p.read_text().splitlines() for p in sorted(root.rglob("metrics.jsonl"))}


def outcome(root, seeds):
    """What the ladder is for: every number and the hash of every weight file."""
    found = {}
    for seed in seeds.split(","):
        for method in METHODS:
            metrics = json.loads((root / f"yolo10n/{method}/seed{seed}/run_summary.json").read_text())["metrics"]
            found[method, seed] = metrics
    for path in sorted(root.rglob("*.safetensors")):
        found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user") / "coco"
    command = [sys.executable, "-m", "qat_data", "synth", "--out", folder, "--images", "16", "--val-images", "8"]
    subprocess.run([*map(str, command), "--imgsz", "64", "--seed", "5"], check=True, capture_output=True)
    return folder


@pytest.mark.fault("B2-1", "SIGKILL in any epoch, and of the ladder or what it runs", how="real")
@pytest.mark.parametrize(
    ("kills", "seeds"), [(3, "0"), pytest.param(20, "0,1", marks=pytest.mark.slow)], ids=["3 kills", "20 kills"]
)
def test_a_killed_ladder_resumes_to_the_same_numbers_and_weights(data, tmp_path, kills, seeds, record_property):
    whole = tmp_path / "whole"
    began = time.monotonic()
    finish(whole, data, seeds)
    length = time.monotonic() - began
    expected = outcome(whole, seeds)
    assert len(expected) == (len(METHODS) + 2) * len(seeds.split(","))  # rows; final and corrected weights

    root = tmp_path / "cut"
    chance = random.Random(20)
    done, ends = 0, 0
    while done < kills:
        before = lines(root)
        began = time.monotonic()
        process = start(root, data, seeds)
        victim = chance.choice(["ladder", "product"])
        if kill_after(process, chance.uniform(0.05, 0.7) * length, victim=victim):
            done += 1
        else:
            ends += 1
            length = min(length, time.monotonic() - began)  # the first may have had less of the machine
            assert outcome(root, seeds) == expected
            shutil.rmtree(root)
            continue
        for name, epochs in before.items():  # no finished epoch is lost or trained again
            assert lines(root)[name][: len(epochs)] == epochs
    grow_old(root)
    finish(root, data, seeds)
    assert outcome(root, seeds) == expected
    assert all([json.loads(line)["epoch"] for line in found] == [1, 2, 3, 4, 5, 6] for found in lines(root).values())

    kept = [*root.rglob("run.json"), *root.rglob("qc.json"), *root.rglob("*.safetensors")]
    before_again = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in kept}
    assert not list(root.rglob(".*.tmp"))  # half written files are cleared away,
    assert not list(root.rglob("*.cache"))  # and no pickle is left where a later run might open it
    record_property("kills", done)
    finish(root, data, seeds)  # nothing that is finished runs a second time
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in kept} == before_again


# A hundred kills ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    place = tmp_path_factory.mktemp("nursery") / "socket"
    command = [sys.executable, ROOT / "tests/faults/killing/nursery.py", place]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("KILLING_")}
    with subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout.readline() == "ready\n"
        yield str(place)
        process.kill()


@pytest.mark.slow
@pytest.mark.fault("extra-killed", "a ladder and its gate, killed a hundred times, end as if never cut", how="real")
@pytest.mark.fault("B2-2", "SIGKILL between a temporary file and its rename, or checkpoint and state", how="real")
@pytest.mark.fault("B2-3", "SIGKILL between summary, comparison and gate", how="real")
def test_a_ladder_and_its_gate_killed_a_hundred_times_lose_nothing(data, nursery, tmp_path, record_property):
    plain, lab = Lab(tmp_path, data), Lab(tmp_path, data, nursery)
    for task in ("ladder.n", "gate.m"):
        plain.finish(task)
    expected = contents(lab.root)
    lab.root.rename(tmp_path / "plain")
    usual = usual_lengths(lab)
    assert not differences(expected, contents(lab.root)), "a product that is forked is not the product that is started"
    hit, losses = killed(lab, expected, usual, kills=100)
    record_property("kills", len(hit))
    record_property("losses", len(losses))
    assert not losses
    assert by_stage(hit).keys() == {stage for stage, _ in (*LADDER, *GATE)}


def usual_lengths(lab):
    """Steps and seconds of each product, from one ladder and gate that nothing cuts."""
    usual = {}
    for task in ("ladder.n", "gate.m"):
        lab.finish(task)
        usual |= {stage: found for stage, found in lengths(lab.events()).items() if stage not in usual}
    return usual


def killed(lab, expected, usual, *, kills):
    """Kill until there were enough; returns the points that hit, and what was lost."""
    chance, hit, losses = random.Random(100), [], []
    shutil.rmtree(lab.root)
    while len(hit) < kills:
        for task, stages in (("ladder.n", LADDER), ("gate.m", GATE)):
            for point in points(stages, usual, chance):
                before = lines(lab.root)
                printed = lab.kill(task, point, usual[point.stage][1])
                if printed is not None:
                    hit.append(point)
                    print(len(hit), point, time.strftime("%T"), flush=True)
                    losses += ["a traceback:\n" + printed] if "Traceback" in printed else []
                after = lines(lab.root)
                losses += [f"{n}: epochs" for n, epochs in before.items() if after.get(n, [])[: len(epochs)] != epochs]
                losses += torn(lab.root)
            lab.finish(task)
        losses += differences(expected, contents(lab.root))
        print("pass", len(hit), by_stage(hit), losses, time.strftime("%T"), flush=True)
        shutil.rmtree(lab.root)
    return hit, losses
