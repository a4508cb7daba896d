"""Planted ladders as files: written by qat-report from planted runs, decided by qat-gate under the shipped policy."""

import copy
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from qat_artifacts import run_command
from qat_gate.cli import FAILURES, cli
from qat_report import summarize

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
RUN, QC, PLAN, REQUEST = (
    json.loads((GOLDEN / f"{name}-1.0.json").read_text())
    for name in ("qat-train-run", "qat-qc-correction", "ladder-plan", "ladder-request")
)
METHODS = ("baseline", "ema", "ema+qc")
HEALTHY = (0.10, 0.18, 0.22, 0.25, 0.27, 0.28)


def sha(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def put(document, dotted, value):
    *parents, last = dotted.split(".")
    for name in parents:
        document = document[name]
    document[last] = value


class Ladder:
    """A run root that is planted run by run."""

    def __init__(self, folder):
        self.folder = folder
        self.cells = []
        self.request = None

    def run(self, variant, seed, *, values=HEALTHY, after=0.285, events=(), status="completed", **changes):
        """Plant one training run and its correction (`after` None: it diverged, there is nothing to correct)."""
        name = f"{variant}/shared/seed{seed}"
        folder = self.folder / "trajectories" / name
        folder.mkdir(parents=True)
        lines = [self._epoch(name, e, value, events) for e, value in enumerate(values, start=1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = copy.deepcopy(RUN)
        run["inputs"] = [{"schema": "file", "path": "metrics.jsonl", "sha256": self._hash(folder / "metrics.jsonl")}]
        facts = {
            "run_id": name,
            "trajectory_id": name,
            "status": status,
            "model.variant": variant,
            "model.checkpoint_sha256": sha(variant),
            "training.seed": seed,
            "training.epochs": len(values) if status == "completed" else len(values) + 3,
            "training.overrides": {"profile": "short"},
            "events": [{"epoch": e, "kind": k, "detail": ""} for e, k in events],
            "files.checkpoint": None if after is None else "checkpoint/checkpoint.json",
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        for dotted, value in facts.items():
            put(run, dotted, value)
        (folder / "run.json").write_text(json.dumps(run))
        if status == "completed" and after is not None:
            (folder / "qc").mkdir()
            qc = copy.deepcopy(QC) | {"run_id": name, "inputs": []}
            qc["after"] |= {"map50_95": after, "weights_sha256": sha(f"{name} corrected")}
            (folder / "qc" / "qc.json").write_text(json.dumps(qc))
        for method in METHODS:
            out = self.summary(variant, method, seed).parent
            corrected = method == "ema+qc" and (folder / "qc").exists()
            summarize(folder, method=method, out=out, qc=folder / "qc" if corrected else None)
            self.cells.append({"variant": variant, "method": method, "seed": seed})
        return self

    def _epoch(self, name, epoch, value, events):
        def found(series):
            numbers = dict.fromkeys(("map50", "precision", "recall"), 0.5)
            return numbers | {
                "map50_95": value, "per_class": {}, "seconds": 1.0, "weights_sha256": sha(f"{name} {series} {epoch}"),
            }  # fmt: skip

        return {
            "epoch": epoch,
            "steps": 6,
            "seconds": 1.0,
            "learning_rate": 1e-4,
            "loss": {"box": 1.0},
            "raw": None if value is None else found("raw"),
            "ema": None if value is None else found("ema"),
            "events": [{"epoch": e, "kind": k, "detail": ""} for e, k in events if e == epoch],
        }

    @staticmethod
    def _hash(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def summary(self, variant, method, seed):
        return self.folder / variant / method.replace("+", "-") / f"seed{seed}" / "run_summary.json"

    def edit(self, variant, method, seed, **changes):
        """Change a summary by hand, as somebody in a hurry would."""
        file = self.summary(variant, method, seed)
        content = json.loads(file.read_text())
        for dotted, value in changes.items():
            put(content, dotted.replace("__", "."), value)
        file.write_text(json.dumps(content))

    def ask(self, **changes):
        """What yolov10m is asked for: by default the run that the evidence fits."""
        request = copy.deepcopy(REQUEST)
        quantization = {k: v for k, v in RUN["quantization"].items() if k != "layers"} | {"layers": []}
        facts = {
            "quantization": quantization,
            "model.imgsz": RUN["model"]["imgsz"],
            "dataset.fingerprint": RUN["dataset"]["fingerprint"],
            "drawn": False,
            "profile": "short",
            **{key.replace("__", "."): value for key, value in changes.items()},
        }
        for dotted, value in facts.items():
            put(request, dotted, value)
        self.request = request

    def decide(self, *more):
        """Exit code and gate.json of `qat-gate check` under configs/gate.toml."""
        plan, request, out = (self.folder / name for name in ("ladder.json", "request.json", "gate.json"))
        cells = [c | {"arm": "shared", "weights": "ema", "correction": False} for c in self.cells]
        plan.write_text(json.dumps(PLAN | {"cells": cells}))
        if self.request is None:
            self.ask()
        request.write_text(json.dumps(self.request))
        arguments = ["--policy", ROOT / "configs" / "gate.toml", "--out", out, "--plan", plan, "--request", request]
        command = ["check", *map(str, [*arguments, *more, self.folder])]
        codes = []

        def body():
            return cli.main(command, standalone_mode=False)

        with CliRunner().isolation():
            codes.append(run_command(body, FAILURES))
        return codes[0], json.loads(out.read_text()) if out.exists() else None


def good(ladder):
    for variant in ("yolo10n", "yolo10s"):
        for seed in (0, 1):
            ladder.run(variant, seed)


def with_last(**how):
    """A good ladder whose last run is another."""

    def build(ladder):
        for variant, seed in (("yolo10n", 0), ("yolo10n", 1), ("yolo10s", 0)):
            ladder.run(variant, seed)
        ladder.run("yolo10s", 1, **how)

    return build


def extra(**how):
    """A good ladder and one more seed."""

    def build(ladder):
        good(ladder)
        ladder.run("yolo10s", 2, **how)

    return build


def missing_seed(ladder):
    for variant, seed in (("yolo10n", 0), ("yolo10n", 1), ("yolo10s", 0)):
        ladder.run(variant, seed)


def deleted_seed(ladder):
    extra(values=(0.1, 0.2, 0.28, 0.05, 0.04, 0.03), after=0.03)(ladder)
    shutil.rmtree(ladder.folder / "trajectories" / "yolo10s" / "shared" / "seed2")
    for method in METHODS:
        shutil.rmtree(ladder.summary("yolo10s", method, 2).parent)


def missing_baseline(ladder):
    good(ladder)
    shutil.rmtree(ladder.summary("yolo10n", "baseline", 1).parent)


def everything(**how):
    def build(ladder):
        for variant in ("yolo10n", "yolo10s"):
            for seed in (0, 1):
                ladder.run(variant, seed, **how)

    return build


def edited(**changes):
    def build(ladder):
        good(ladder)
        ladder.edit("yolo10s", "ema+qc", 1, **changes)

    return build


def rewritten_metrics(ladder):
    good(ladder)
    file = ladder.folder / "trajectories/yolo10s/shared/seed1/metrics.jsonl"
    file.write_text(file.read_text().replace("0.22", "0.26"))


def without_inputs(ladder):
    good(ladder)
    shutil.rmtree(ladder.folder / "trajectories" / "yolo10s" / "shared" / "seed1")


def asked(**changes):
    def build(ladder):
        good(ladder)
        ladder.ask(**changes)

    return build


def demo_for_coco(ladder):
    everything(training__overrides={"profile": "demo"})(ladder)
    ladder.ask(dataset__fingerprint="c" * 64, profile="full")


def demo_for_demo(ladder):
    everything(training__overrides={"profile": "demo"})(ladder)
    ladder.ask(drawn=True, profile="demo")


NOISY = (0.10, 0.18, 0.12, 0.25, 0.20, 0.28)
PEAK_AND_BACK = (0.10, 0.28, 0.05, 0.05, 0.05, 0.05)  # and the correction ends at 0.285
REPAIRED = ((3, "nan-loss"), (3, "rollback"))
OLD = {"qat-train": "0.0.9", "torch": "2.14.1"}

# name: how it is planted, what is found against it (rule, kind); nothing is a GO
CORPUS = {
    "good": (good, set()),
    "a healthy but noisy ramp": (with_last(values=NOISY), set()),
    "three seeds": (extra(), set()),
    "nothing at all": (
        lambda ladder: ladder.folder.mkdir(exist_ok=True),
        {("1-integrity", "missing"), ("2-seeds", "missing"), ("3-stability", "missing"), ("4-comparison", "missing"),
         ("5-comparability", "missing"), ("6-fitness", "missing")},
    ),
    "missing seed": (missing_seed, {("2-seeds", "insufficient-evidence")}),
    "missing baseline": (missing_baseline, {("4-comparison", "missing")}),
    "a collapsed seed more": (
        extra(values=(0.1, 0.2, 0.28, 0.05, 0.04, 0.03), after=0.03), {("3-stability", "collapsed")},
    ),
    "a collapsed seed that was deleted": (deleted_seed, {("2-seeds", "missing"), ("4-comparison", "missing")}),
    "early peak and collapse that recovers at the end": (
        with_last(values=PEAK_AND_BACK), {("3-stability", "collapsed")},
    ),
    "NaN repaired": (with_last(events=REPAIRED), {("3-stability", "recovered")}),
    "NaN not repaired": (
        with_last(values=(*HEALTHY[:5], None), after=None, events=((6, "nan-weights"),)),
        {("3-stability", "diverged")},
    ),
    "frozen metric": (with_last(values=(0.1, 0.2, 0.28, 0.28, 0.28, 0.28), after=0.28),
                      {("3-stability", "frozen-metric")}),
    "no signal": (with_last(values=(0.001, 0.002, 0.003, 0.003, 0.004, 0.005), after=0.006),
                  {("3-stability", "no-signal")}),
    "one evaluation": (with_last(values=(0.28,), training__epochs=1),
                       {("3-stability", "insufficient"), ("5-comparability", "not-comparable")}),
    "incomplete": (
        with_last(values=HEALTHY[:4], status="running"),
        {("2-seeds", "incomplete"), ("2-seeds", "insufficient-evidence"), ("4-comparison", "incomplete")},
    ),
    "other validation images": (with_last(dataset__val_fingerprint="v" * 64), {("5-comparability", "not-comparable")}),
    "other image size": (
        with_last(model__imgsz=96), {("5-comparability", "not-comparable"), ("6-fitness", "not-comparable")},
    ),
    "other policy": (
        with_last(quantization__policy="all"), {("5-comparability", "not-comparable"), ("6-fitness", "not-comparable")},
    ),
    "stale code in one run": (with_last(versions=OLD), {("5-comparability", "stale"), ("6-fitness", "stale")}),
    "stale code in all runs": (everything(versions=OLD), {("6-fitness", "stale")}),
    "hand-edited final value": (edited(metrics__final_value=0.4), {("1-integrity", "tampered")}),
    "hand-edited class": (
        edited(stability__class="stable", stability__findings=[], metrics__fp32=0.9), {("1-integrity", "tampered")},
    ),
    "hand-edited fingerprint": (
        edited(dataset__fingerprint="e" * 64),
        {("1-integrity", "tampered"), ("5-comparability", "not-comparable"), ("6-fitness", "not-comparable")},
    ),
    "rewritten metrics": (rewritten_metrics, {("1-integrity", "tampered")}),
    "missing inputs": (without_inputs, {("1-integrity", "unverifiable")}),
    "COCO asked for, demo shown": (
        demo_for_coco, {("6-fitness", "insufficient-evidence"), ("6-fitness", "not-comparable")},
    ),
    "demo asked for, demo shown": (demo_for_demo, set()),
    "smoke profile": (
        everything(training__overrides={"profile": "smoke"}), {("6-fitness", "insufficient-evidence")},
    ),
    "other width asked for": (asked(quantization__mode="w3a16"), {("6-fitness", "not-comparable")}),
    "other data asked for": (asked(dataset__fingerprint="d" * 64), {("6-fitness", "not-comparable")}),
    "newer code asked for": (asked(versions={"qat-train": "0.2.0"}), {("6-fitness", "stale")}),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_every_planted_ladder_is_decided_rightly(tmp_path, name):
    build, expected = CORPUS[name]
    ladder = Ladder(tmp_path / "root")
    build(ladder)
    code, decision = ladder.decide()
    found = {(c["id"], reason["kind"]) for c in decision["criteria"] for reason in c["reasons"]}
    assert found == expected
    assert (code, decision["passed"]) == ((4, False) if expected else (0, True))


def test_duplicate_run_ids_are_no_evidence_at_all(tmp_path):
    ladder = Ladder(tmp_path / "root")
    good(ladder)
    shutil.copytree(ladder.summary("yolo10s", "ema+qc", 1).parent, tmp_path / "root" / "yolo10s" / "copy")
    assert ladder.decide() == (3, None)


def test_an_override_is_recorded_and_the_decision_stays(tmp_path):
    ladder = Ladder(tmp_path / "root")
    missing_seed(ladder)
    code, decision = ladder.decide("--override", "the cluster is free")
    assert (code, decision["passed"], decision["override"]) == (4, False, "the cluster is free")


def test_evidence_and_request_are_both_named(tmp_path):
    ladder = Ladder(tmp_path / "root")
    good(ladder)
    _, decision = ladder.decide()
    assert decision["evidence"]["profiles"] == decision["requested"]["profiles"] == ["short"]
    assert decision["evidence"]["fingerprints"] == decision["requested"]["fingerprints"]
