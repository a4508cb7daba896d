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
from qat_ladder.gating import evidence_of
from qat_ladder.layout import Root
from qat_report import summarize

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
RUN, QC, PLAN, REQUEST = (
    json.loads((GOLDEN / f"{name}-1.0.json").read_text())
    for name in ("qat-train-run", "qat-qc-correction", "ladder-plan", "ladder-request")
)
METHODS = ("baseline", "ema", "ema+qc")
VARIANTS = ("yolo10n", "yolo10s")
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
            ref = {"schema": "qat-train/run", "path": "../run.json", "sha256": self._hash(folder / "run.json")}
            qc = copy.deepcopy(QC) | {"run_id": name, "inputs": [ref]}
            qc["after"] |= {"map50_95": after, "weights_sha256": sha(f"{name} corrected")}
            (folder / "qc" / "qc.json").write_text(json.dumps(qc))
        self.cells += [{"variant": variant, "method": method, "seed": seed} for method in METHODS]
        self.summarize(variant, seed)
        return self

    def trajectory(self, variant, seed):
        return self.folder / "trajectories" / variant / "shared" / f"seed{seed}"

    def summarize(self, variant, seed):
        """Write the three rows of a training run."""
        folder = self.trajectory(variant, seed)
        for method in METHODS:
            qc = folder / "qc" if method == "ema+qc" and (folder / "qc").exists() else None
            summarize(folder, method=method, out=self.summary(variant, method, seed).parent, qc=qc)

    def forget(self, variant, seed):
        """Delete the rows of a training run, and its cells from the plan; what was trained stays."""
        self.cells = [cell for cell in self.cells if (cell["variant"], cell["seed"]) != (variant, seed)]
        for method in METHODS:
            shutil.rmtree(self.summary(variant, method, seed).parent)

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

    def rewrite(self, variant, seed, *, rows=METHODS, values=None, drop=(), **changes):
        """Edit rows in a body: history, what follows from it, class, status and the hashes of the inputs as they are.

        Args:
            values: of the whole history, or None; `drop`: inputs that the header is to forget, by file name.
        """
        for method in rows:
            file = self.summary(variant, method, seed)
            row = json.loads(file.read_text())
            history, metrics = row["metrics"]["history"], row["metrics"]
            for point, value in zip(history, values or (), strict=False):
                point["value"] = value
            numbers = [point["value"] for point in history]
            best = max(numbers)
            metrics |= {"best_value": best, "final_value": numbers[-1], "best_epoch": numbers.index(best) + 1}
            row["stability"] |= {"class": "stable", "findings": [], "collapsed": False}
            row["status"] = "completed-success"
            row["inputs"] = [ref for ref in row["inputs"] if Path(ref["path"]).name not in drop]
            for ref in row["inputs"]:
                ref["sha256"] = self._hash(file.parent / ref["path"])
            file.write_text(json.dumps(row))
            self.edit(variant, method, seed, **changes)

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
        cells = [{"arm": "shared", "weights": "ema", "correction": False} | cell for cell in self.cells]
        plan.write_text(json.dumps(PLAN | {"cells": cells}))
        if self.request is None:
            self.ask()
        request.write_text(json.dumps(self.request))
        arguments = ["--policy", ROOT / "configs" / "gate.toml", "--out", out, "--plan", plan, "--request", request]
        for cell in evidence_of(Root(self.folder), METHODS).lost:
            arguments += ["--lost", cell]
        command = ["check", *map(str, [*arguments, *more, self.folder])]
        codes = []

        def body():
            return cli.main(command, standalone_mode=False)

        with CliRunner().isolation():
            codes.append(run_command(body, FAILURES))
        return codes[0], json.loads(out.read_text()) if out.exists() else None


def good(ladder):
    for variant in VARIANTS:
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
    extra(values=COLLAPSING, after=0.03)(ladder)
    shutil.rmtree(ladder.trajectory("yolo10s", 2))
    for method in METHODS:
        shutil.rmtree(ladder.summary("yolo10s", method, 2).parent)


def missing_baseline(ladder):
    good(ladder)
    shutil.rmtree(ladder.summary("yolo10n", "baseline", 1).parent)


def everything(**how):
    def build(ladder):
        for variant in VARIANTS:
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


COLLAPSING = (0.1, 0.2, 0.28, 0.05, 0.04, 0.03)


def document(path, **changes):
    """Edit a JSON file; keys as in `Ladder.run`."""
    content = json.loads(path.read_text())
    for dotted, value in changes.items():
        put(content, dotted.replace("__", "."), value)
    path.write_text(json.dumps(content))


def lines(path, **values):
    """Replace the values of one series, or of both, in metrics.jsonl."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for series, numbers in values.items():
        for line, number in zip(found, numbers, strict=True):
            line[series]["map50_95"] = number
    path.write_text("".join(json.dumps(line) + "\n" for line in found))


def record(ladder, folder):
    """Give run.json and qc.json the hashes of what they record, as it is now."""
    run = json.loads((folder / "run.json").read_text())
    run["inputs"][-1]["sha256"] = ladder._hash(folder / "metrics.jsonl")
    (folder / "run.json").write_text(json.dumps(run))
    qc = json.loads((folder / "qc" / "qc.json").read_text())
    qc["inputs"][0]["sha256"] = ladder._hash(folder / "run.json")
    (folder / "qc" / "qc.json").write_text(json.dumps(qc))


def correction_cut_off(ladder):
    with_last(after=0.03)(ladder)
    file = ladder.summary("yolo10s", "ema+qc", 1)
    row = json.loads(file.read_text())
    row["metrics"]["history"].pop()
    file.write_text(json.dumps(row))
    ladder.rewrite("yolo10s", 1, rows=["ema+qc"], drop=["qc.json"])


def unfinished_called_complete(status):
    def build(ladder):
        with_last(values=HEALTHY[:5], status=status, training__epochs=6)(ladder)
        ladder.rewrite("yolo10s", 1)

    return build


def more_epochs_than_lines(ladder):
    good(ladder)
    for seed in (0, 1):
        folder = ladder.trajectory("yolo10s", seed)
        document(folder / "run.json", training__epochs=12)
        record(ladder, folder)
        ladder.rewrite("yolo10s", seed, training__epochs=12)


def raw_reported_as_average(ladder):
    good(ladder)
    folder = ladder.trajectory("yolo10s", 1)
    lines(folder / "metrics.jsonl", ema=COLLAPSING)
    record(ladder, folder)
    ladder.summarize("yolo10s", 1)
    baseline = json.loads(ladder.summary("yolo10s", "baseline", 1).read_text())["metrics"]["history"]
    for method in ("ema", "ema+qc"):
        own = json.loads(ladder.summary("yolo10s", method, 1).read_text())["metrics"]["history"]
        history = baseline + [point for point in own if point["stage"] == "qc"]
        ladder.edit("yolo10s", method, 1, method__ema__enabled=False, metrics__history=history)
    ladder.rewrite("yolo10s", 1, rows=["ema", "ema+qc"])


def second_metrics(ladder):
    with_last(values=COLLAPSING)(ladder)
    folder = ladder.trajectory("yolo10s", 1)
    shutil.copy(folder / "metrics.jsonl", folder / "better.jsonl")
    lines(folder / "better.jsonl", raw=HEALTHY, ema=HEALTHY)
    for method in METHODS:
        inputs = json.loads(ladder.summary("yolo10s", method, 1).read_text())["inputs"]
        other = [
            ref | {"path": ref["path"].replace("metrics.", "better.")} for ref in inputs if "metrics." in ref["path"]
        ]
        ladder.edit("yolo10s", method, 1, inputs=inputs + other)
    ladder.rewrite("yolo10s", 1, values=HEALTHY)


def other_metrics(ladder):
    second_metrics(ladder)
    ladder.rewrite("yolo10s", 1, drop=["metrics.jsonl"])


def metrics_and_summaries_edited(ladder):
    with_last(values=COLLAPSING)(ladder)
    lines(ladder.trajectory("yolo10s", 1) / "metrics.jsonl", raw=HEALTHY, ema=HEALTHY)
    ladder.rewrite("yolo10s", 1, values=HEALTHY)


def correction_of(**changes):
    def build(ladder):
        good(ladder)
        document(ladder.trajectory("yolo10s", 1) / "qc" / "qc.json", **changes)
        ladder.rewrite("yolo10s", 1)

    return build


def correction_of_an_earlier_run(ladder):
    good(ladder)
    folder = ladder.trajectory("yolo10s", 1)
    qc = json.loads((folder / "qc" / "qc.json").read_text())
    qc["inputs"][0]["sha256"] = "0" * 64
    (folder / "qc" / "qc.json").write_text(json.dumps(qc))
    ladder.summarize("yolo10s", 1)


def correction_with_other_settings(ladder):
    good(ladder)
    document(ladder.trajectory("yolo10s", 1) / "qc" / "qc.json", epochs=50, lr=1.0)
    ladder.summarize("yolo10s", 1)


def evaluation_edited(ladder):
    with_last(evaluation__head="one2many", evaluation__conf=0.25)(ladder)
    ladder.rewrite("yolo10s", 1, evaluation__head="one2one", evaluation__conf=0.001)


def sets_hides(seeds):
    """Runs of s on other validation images, in the keys that their methods claim to set."""

    def build(ladder):
        for variant in VARIANTS:
            for seed in (0, 1):
                other = variant == "yolo10s" and seed in seeds
                ladder.run(variant, seed, **{"dataset__val_fingerprint": "v" * 64} if other else {})
                if other:
                    ladder.rewrite(variant, seed, method__sets=["dataset"])

    return build


def every_row(**changes):
    def build(ladder):
        good(ladder)
        for variant in VARIANTS:
            for seed in (0, 1):
                ladder.rewrite(variant, seed, **changes)

    return build


def one_run_as_two_seeds(ladder):
    missing_seed(ladder)
    first, second = (ladder.trajectory("yolo10s", seed) for seed in (0, 1))
    shutil.copytree(first, second)
    name = "yolo10s/shared/seed1"
    document(second / "run.json", run_id=name, trajectory_id=name, training__seed=1)
    document(second / "qc" / "qc.json", run_id=name)
    record(ladder, second)
    ladder.summarize("yolo10s", 1)


def forgotten_seed(ladder):
    extra(values=COLLAPSING, after=0.03)(ladder)
    ladder.forget("yolo10s", 2)


def seed_of_another_variant(ladder):
    extra(values=COLLAPSING, after=0.03)(ladder)
    ladder.cells = [cell for cell in ladder.cells if cell["seed"] != 2]
    for method in METHODS:
        ladder.edit("yolo10s", method, 2, model__variant="other")


def another_method_planned(ladder):
    good(ladder)
    ladder.cells.append({"variant": "yolo10n", "method": "dampening", "seed": 5, "arm": "dampening-0.1"})


NOISY = (0.10, 0.18, 0.12, 0.25, 0.20, 0.28)
PEAK_AND_BACK = (0.10, 0.28, 0.05, 0.05, 0.05, 0.05)  # and the correction ends at 0.285
REPAIRED = ((3, "nan-loss"), (3, "rollback"))
OLD = {"qat-train": "0.0.9", "torch": "2.14.1"}

TAMPERED = {("1-integrity", "tampered")}
UNVERIFIABLE = {("1-integrity", "unverifiable")}
UNEVEN = {("5-comparability", "not-comparable")}
SEED_MISSING = {("2-seeds", "missing"), ("4-comparison", "missing")}
TAMPERED_UNEVEN = TAMPERED | UNEVEN

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
        extra(values=COLLAPSING, after=0.03), {("3-stability", "collapsed")},
    ),
    "a collapsed seed that was deleted": (deleted_seed, SEED_MISSING),
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
    "a correction that ruined the model, cut off": (correction_cut_off, UNVERIFIABLE),
    "a running run called complete": (unfinished_called_complete("running"), TAMPERED | UNVERIFIABLE),
    "a failed run called complete": (unfinished_called_complete("failed"), TAMPERED | UNVERIFIABLE),
    "more epochs than were measured": (more_epochs_than_lines, TAMPERED),
    "raw weights reported as averaged ones": (raw_reported_as_average, TAMPERED_UNEVEN),
    "a second file of metrics": (second_metrics, TAMPERED),
    "another file of metrics": (other_metrics, TAMPERED),
    "metrics and summaries edited": (metrics_and_summaries_edited, TAMPERED),
    "the correction of another run": (correction_of(run_id="yolo10s/shared/seed0"), TAMPERED),
    "the correction of other weights": (correction_of(weights="raw"), TAMPERED),
    "the correction of an earlier run": (correction_of_an_earlier_run, TAMPERED),
    "a correction of another kind": (correction_of(stages=["bn", "qc"]), TAMPERED),
    "a correction with other settings": (correction_with_other_settings, UNEVEN),
    "hand-edited evaluation": (evaluation_edited, TAMPERED),
    "other validation images, hidden by what the method sets": (sets_hides((1,)), TAMPERED_UNEVEN),
    "other validation images of a variant, hidden by what the methods set": (sets_hides((0, 1)), TAMPERED_UNEVEN),
    "another metric under every number": (every_row(metrics__primary_name="metrics/mAP50(B)"), TAMPERED),
    "one run as two seeds": (one_run_as_two_seeds, {("2-seeds", "insufficient-evidence")}),
    "a collapsed seed that rows and plan forgot": (forgotten_seed, SEED_MISSING),
    "a collapsed seed that claims another variant": (seed_of_another_variant, SEED_MISSING),
    "another learning rate in one seed": (
        with_last(training__overrides={"profile": "short", "training.lr0": 0.02}), UNEVEN,
    ),
    "another profile in one seed": (with_last(training__overrides={"profile": "full"}), UNEVEN),
    "more threads in one seed": (with_last(training__overrides={"profile": "short", "training.threads": 4}), set()),
    "another method planned": (another_method_planned, set()),
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


@pytest.mark.parametrize("profile", ["tiny", "demo"])
def test_no_policy_opens_real_data_on_tiny_or_demo_evidence(tmp_path, profile):
    ladder = Ladder(tmp_path / "root")
    everything(training__overrides={"profile": profile})(ladder)
    policy, text = tmp_path / "gate.toml", (ROOT / "configs" / "gate.toml").read_text(encoding="utf-8")
    assert 'min_profile = "short"' in text
    policy.write_text(text.replace('min_profile = "short"', f'min_profile = "{profile}"'), encoding="utf-8")
    code, decision = ladder.decide("--policy", policy)
    assert (code, decision["passed"]) == (4, False)
    found = {(c["id"], reason["kind"]) for c in decision["criteria"] for reason in c["reasons"]}
    assert found == {("6-fitness", "insufficient-evidence")}
    assert decision["notes"][0] == f"decided by {policy}, SHA-256 {ladder._hash(policy)}"
    ladder.ask(drawn=True, profile=profile)
    assert ladder.decide("--policy", policy)[0] == 0


def test_an_override_without_a_reason_is_refused(tmp_path):
    ladder = Ladder(tmp_path / "root")
    missing_seed(ladder)
    assert ladder.decide("--override", " ") == (2, None)


def test_inputs_that_are_rewritten_with_all_of_their_hashes_are_not_found_out(tmp_path):
    """The limit of it, stated in docs/decisions: hashes are no signatures."""
    ladder = Ladder(tmp_path / "root")
    with_last(after=0.03)(ladder)
    document(ladder.trajectory("yolo10s", 1) / "qc" / "qc.json", after__map50_95=0.285)
    ladder.summarize("yolo10s", 1)
    assert ladder.decide()[0] == 0
