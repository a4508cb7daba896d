"""A project folder with the real configuration files."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from qat_ladder import launch
from qat_ladder.flags import Request

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path):
    """A copy of configs/ that a test may edit, and a demo checkpoint that is only a name."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "project" / "configs")
    (tmp_path / "project" / "assets").mkdir()
    (tmp_path / "project" / "assets" / "yolov10n-demo.pt").write_bytes(b"weights")
    return tmp_path / "project"


@pytest.fixture
def request_for(project, tmp_path):
    """Build a request; keywords as in `Request`."""

    def make(**flags):
        given = {
            "variant": "yolo10n",
            "project": project,
            "seeds": [0, 1],
            "methods": ["baseline", "ema", "ema+qc"],
            "root": tmp_path / "runs",
        }
        return Request(**given | flags)

    return make


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
head = {"schema": "qat-train/run", "version": "1.0", "created_by": "x", "inputs": [],
        "training": {"epochs": 2}, "seconds": 3.0}
for pattern, code in behaviour.items():
    if pattern in " ".join(args):
        print("error: made to fail", file=sys.stderr)
        if key == "qat-gate check":
            pathlib.Path(option("--out")).write_text("{}")
        if key == "qat-train run":
            pathlib.Path(option("--out"), "run.json").write_text(json.dumps(head | {"status": "failed"}))
        sys.exit(code)
if key == "qat-data prepare":
    out = pathlib.Path(option("--out"))
    out.mkdir(parents=True)
    body = {"fingerprint": "ab" * 32, "classes": [{"name": "a", "index": 0}], "coco_root": "coco",
            "data_yaml": "data.yaml", "train": {"images": 4, "notes": ["a note"]},
            "val": {"images": 2, "notes": [], "fingerprint": "cd" * 32},
            "selection": {"data_seed": 0, "train": "hash", "val": "first", "train_images_requested": None,
                          "val_images_requested": None}}
    (out / "dataset.json").write_text(json.dumps(body))
    print(json.dumps(body))
elif key == "qat-data synth":
    pathlib.Path(option("--out")).mkdir(parents=True)
elif key == "qat-train inspect":
    print(json.dumps({"names": ["a"], "nc": 1, "sha256": "cd" * 32}))
elif key == "qat-train run" and (here / "standing.json").exists():
    import signal, time
    out = pathlib.Path(option("--out"))
    resumed = (out / "metrics.jsonl").exists()
    def end(*_):
        (out / "ended").write_text("SIGTERM")
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)
    (out / "run.json").write_text(json.dumps(head | {"status": "running"}))
    (out / "metrics.jsonl").write_text('{"seconds": 3.0}\\n')
    print("epoch 1/2  mAP50-95 raw 0.1  ema 0.1  3.0 s  about 3 s left", file=sys.stderr, flush=True)
    if any(s["sign"] == "metric-fall" for s in json.loads((here / "standing.json").read_text())) and not resumed:
        for _ in range(1200):  # short naps: a signal just before a long one would be handled after it
            time.sleep(0.05)
    (out / "run.json").write_text(json.dumps(head | {"status": "completed"}))
    print("epoch 2/2  mAP50-95 raw 0.1  ema 0.1  3.0 s  about 0 s left", file=sys.stderr)
elif key == "qat-report warn":
    print(json.dumps({"standing": json.loads((here / "standing.json").read_text())}))
elif key == "qat-train run":
    print("noise \\r  epoch 1/2  mAP50-95 raw 0.1  ema 0.1  3.0 s  about 3 s left", file=sys.stderr)
    body = head | {"status": "completed", "out": option("--out")}
    pathlib.Path(option("--out"), "run.json").write_text(json.dumps(body))
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
    body = {"schema": "qat-report/run-summary", "version": "1.0", "created_by": "x", "inputs": []}
    if "--stopped" in args:
        body |= {"status": "incomplete", "error": "stopped: doomed after epoch 1 of 2: " + option("--stopped")}
    if "--failed" in args:
        body |= {"status": "incomplete", "error": "no correction: " + option("--failed")}
    body |= {"metrics": {"final_value": 0.1}}
    (out / "run_summary.json").write_text(json.dumps(body if "status" in body else {}))
elif key == "qat-gate check":
    print("decision")
    pathlib.Path(option("--out")).write_text("{}")
elif key == "qat-train layers":
    print(json.dumps([{"name": "model.0.conv", "type": "Conv dense 3x3", "bits": 8, "elements": 27}]))
elif key == "qat-report refuse":
    pathlib.Path(option("--out"), "run_summary.json").write_text("{}")
    pathlib.Path(option("--out"), "summary.md").write_text("refused")
elif key == "qat-train pretrain":
    pathlib.Path(option("--out"), "model.pt").write_bytes(b"weights")
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

    def standing(self, signs):
        """Let training write what --stop-doomed looks at, and wait after epoch 1 where there are signs."""
        (self.folder / "standing.json").write_text(json.dumps(signs))

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
