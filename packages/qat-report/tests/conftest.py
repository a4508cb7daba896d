import copy
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from qat_report import compare, summarize
from qat_report.comparing import assemble
from qat_report.comparison_page import comparison_page
from qat_report.contents import Contents
from qat_report.evidence import find_evidence
from qat_report.finding import read_summaries
from qat_report.html import comparison_html

FIXTURES = Path(__file__).parent / "fixtures"
BASE = json.loads((FIXTURES / "run_summary-1.0.json").read_text(encoding="utf-8"))
LADDER = json.loads((FIXTURES / "ladder.json").read_text(encoding="utf-8"))


def assign(document, dotted, value):
    *parents, last = dotted.split(".")
    for name in parents:
        document = document[name]
    document[last] = value


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def summary_document(row):
    """The JSON of a run summary: the golden file with the values of a row of ladder.json."""
    document = copy.deepcopy(BASE)
    variant, method, seed = row["variant"], row["method"], row["seed"]
    trajectory = row.get("trajectory", f"{variant}/seed{seed}")
    points = [(i, value, "qat") for i, value in enumerate(row["history"], start=1)]
    if "qc" in row:
        points.append((len(points) + 1, row["qc"], "qc"))
    known = [(value, -epoch) for epoch, value, _ in points if value is not None]
    best, best_epoch = max(known, default=(None, None))
    final = points[-1][1] if points else None
    parts = method.replace("-", "+").split("+")
    averaged, stages = "ema" in parts, [stage for stage in ("bn", "qc") if stage in parts]
    status = {"stable": "completed-success", "incomplete": "incomplete"}.get(row["class"], "completed-failed")
    history = [
        {"epoch": epoch, "value": value, "stage": stage, "weights_sha256": sha256(f"{trajectory}{method}{epoch}")}
        for epoch, value, stage in points
    ]
    changes = {
        "run_id": f"{trajectory}/{method}",
        "trajectory_id": trajectory,
        "model.variant": variant,
        "model.checkpoint": f"{variant}.pt",
        "model.checkpoint_sha256": sha256(variant),
        "method.variant": method,
        "method.ema.enabled": averaged,
        "method.qc.enabled": "qc" in stages,
        "method.qc.stages": stages,
        "training.seed": seed,
        "evaluation.weights_sha256": history[-1]["weights_sha256"] if history else None,
        "metrics.history": history,
        "metrics.best_value": best,
        "metrics.best_epoch": -best_epoch if best_epoch else None,
        "metrics.final_value": final,
        "metrics.fp32": row.get("fp32", BASE["metrics"]["fp32"]),
        "metrics.ptq": row.get("ptq", BASE["metrics"]["ptq"]),
        "stability.final_over_best_ratio": final / best if best else None,
        "stability.class": row["class"],
        "stability.collapsed": row["class"] in ("collapsed", "incomplete"),
        "stability.findings": row.get("findings", []),
        "stability.reasons": row.get("reasons", []),
        "status": status,
        "error": row.get("error"),
        **row.get("set", {}),
    }
    for dotted, value in changes.items():
        assign(document, dotted, value)
    return document


def write_summary(root, row):
    folder = root / row["variant"] / row["method"].replace("+", "-") / f"seed{row['seed']}{row.get('place', '')}"
    folder.mkdir(parents=True)
    path = folder / "run_summary.json"
    path.write_text(json.dumps(summary_document(row)), encoding="utf-8")
    (folder / "summary.md").write_text("Gate decision: not evaluated\n", encoding="utf-8")
    return path


@pytest.fixture
def ladder(tmp_path):
    """Writes summaries of the named parts of ladder.json, or of rows, and returns their root and paths."""

    def write(*parts, root=tmp_path / "root"):
        rows = [row for part in parts for row in (LADDER[part] if isinstance(part, str) else [part])]
        return root, [write_summary(root, row) for row in rows]

    return write


@pytest.fixture
def run(tmp_path):
    """A copy of the fixture run, with some fields of run.json, lines of metrics.jsonl or fields of qc.json changed."""

    def make(*, lines=None, qc=None, **changes):
        shutil.copytree(FIXTURES / "run", tmp_path / "run")
        shutil.copytree(FIXTURES / "qc", tmp_path / "qc")
        for path, wanted in ((tmp_path / "run/run.json", changes), (tmp_path / "qc/qc.json", qc or {})):
            document = json.loads(path.read_text(encoding="utf-8"))
            for dotted, value in wanted.items():
                assign(document, dotted.replace("__", "."), value)
            path.write_text(json.dumps(document), encoding="utf-8")
        if lines is not None:
            (tmp_path / "run/metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path / "run"

    return make


@pytest.fixture
def edited_summary(tmp_path):
    """Writes the golden summary with some fields, named by dotted keys, changed."""

    def make(changes, name="run_summary.json"):
        document = copy.deepcopy(BASE)
        for dotted, value in changes.items():
            assign(document, dotted, value)
        path = tmp_path / name
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return make


@pytest.fixture
def ladder_row():
    """One row of ladder.json, changed."""

    def make(part, index=0, **changes):
        return copy.deepcopy(LADDER[part][index]) | changes

    return make


@pytest.fixture(scope="session")
def write_row():
    """Write the summary of one row below a root; returns its folder."""
    return lambda root, row: write_summary(root, row).parent


def oscillation(shares, switches=10):
    """One epoch's oscillation: the share of each layer of 100 weights."""
    layers = {
        name: {"weights": 100, "frequency": share / 10, "share": share, "switches": switches, "by_weight": switches,
               "by_scale": 0, "distance": [10] * 10}
        for name, share in shares.items()
    }  # fmt: skip
    mean = sum(shares.values()) / len(shares)
    total = {"frequency": mean / 10, "share": mean, "switches": switches * len(shares), "by_scale": 0}
    total["by_weight"] = total["switches"]
    return {"momentum": 0.01, "threshold": 0.02, "total": total, "layers": layers}


@pytest.fixture
def traced(tmp_path):
    """Writes training runs with everything that lies behind a summary, and their summaries, below a root.

    `change(number, line)` edits the line of an epoch, counted from 0.
    """

    def write(root=tmp_path / "root", seeds=(0,), methods=("baseline", "ema", "ema+qc"), change=None, **run_fields):
        for seed in seeds:
            place = root / "trajectories" / f"seed{seed}"
            shutil.copytree(FIXTURES / "run", place)
            shutil.copytree(FIXTURES / "qc", place / "qc")
            fields = {"run_id": f"n/seed{seed}", "trajectory_id": f"n/seed{seed}", "training.seed": seed} | run_fields
            for path in (place / "run.json", place / "qc" / "qc.json"):
                document = json.loads(path.read_text(encoding="utf-8"))
                for dotted, value in fields.items():
                    if path.name == "run.json" or dotted == "run_id":
                        assign(document, dotted, value)
                path.write_text(json.dumps(document), encoding="utf-8")
            lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
            for number, line in enumerate(lines):
                line["oscillation"] = oscillation({"model.0": 0.01 * number, "model.1": 0.02 * number, "model.2": 0.0})
                if change:
                    change(number, line)
            (place / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
            for method in methods:
                out = root / "yolo10n" / method.replace("+", "-") / f"seed{seed}"
                summarize(place, method=method, out=out, qc=place / "qc" if "qc" in method else None)
        return root

    return write


class Pages:
    """The pages of a root, each drawn when it is asked for: plots take a second."""

    def __init__(self, root, **options):
        found = read_summaries([root])
        self.made = assemble(found, out=root, **{"gate": None, "exports": [], "choice": None} | options)
        evidence = find_evidence([(item.path, item.summary) for item in found])
        self.contents = Contents.of(self.made.comparison, self.made.entries, evidence, out=root)

    @property
    def markdown(self):
        return comparison_page(self.contents)

    @property
    def html(self):
        return comparison_html(self.contents)


@pytest.fixture
def shown(tmp_path):
    """A page as a browser without JavaScript makes it: its DOM on stdout, what it complains of on stderr."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    profile = tmp_path / "profile"
    (profile / "Default").mkdir(parents=True)
    off = {"profile": {"default_content_setting_values": {"javascript": 2}}}
    (profile / "Default/Preferences").write_text(json.dumps(off), encoding="utf-8")

    def show(page):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr"]
        command = [browser, *flags, "--dump-dom", page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    return show


@pytest.fixture
def pages_of():
    """The pages of what lies below a root."""
    return Pages


@pytest.fixture
def pages(ladder):
    """The pages of parts of the ladder, or of rows."""
    return lambda *parts: Pages(ladder(*parts)[0])


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """A folder with the comparison of the good part of ladder.json; not to be written to."""
    root = tmp_path_factory.mktemp("good")
    for row in LADDER["good"]:
        write_summary(root, row)
    compare([root], out=root)
    return root
