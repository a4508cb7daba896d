"""Every reader, given real files with hostile changes: it reads them or says what is wrong, and does nothing else.

Nothing else: no other exception than those that commands turn into exit code 2 or 3, no file read outside the folder
of the file, none written, and an answer within a time that no honest file needs.
"""

import contextlib
import functools
import importlib
import json
import shutil
from pathlib import Path

import attrs
import pytest
import tomli
from hypothesis import HealthCheck, given, settings

import qat_artifacts
import qat_data.detections
import qat_data.truth
import qat_gate
import qat_report.comparison
import qat_report.epochs
import qat_report.finding
import qat_report.sources
import qat_train.dataset
import qat_train.metrics
import qat_train.policy
import qat_train.spec
from qat_data.check import check_prepared
from qat_data.coco import CocoLayout, read_coco
from qat_data.errors import DataError
from qat_data.prepare import Request, prepare
from qat_data.selection import select
from qat_data.synth import synthesize
from qat_data.yolo import read_yolo
from qat_gate.errors import EvidenceError, PolicyError
from qat_gate.reading import read_summaries
from qat_gate.verifying import verify
from qat_ladder.campaign.file import read_file
from qat_ladder.compose import parse_setting
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request as LadderRequest
from qat_ladder.schemas import OWNERS
from qat_report.errors import ReportError
from qat_report.series import read_series
from qat_train.environment import prepare_environment
from qat_train.errors import InputError, SpecError

from .fuzz.damage import NAMES, files, spell
from .fuzz.watching import watched

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "packages/qat-report/tests/fixtures"
GOLDEN = ROOT / "tests" / "contracts" / "golden"
QUICK, SLOW = 60, 20_000  # executions of a reader, and of a family of readers
NAMED = (
    qat_artifacts.ArtifactError,
    DataError,
    ReportError,
    EvidenceError,
    PolicyError,
    ConfigError,
    SpecError,
    InputError,
)


@attrs.frozen
class Reader:
    """One way to read one file: `place` in the family's folder, its form, and what reads it.

    `follows`: the file may name others anywhere, as a user's own data.yaml does.
    """

    family: str
    name: str
    place: str
    form: str
    read: object = attrs.field(repr=False)
    separator: str = ""
    follows: bool = False

    @property
    def id(self):
        return f"{self.family}: {self.name}"


# Folders of real files ------------------------------------------------------------------------------------------------


def coco(folder):
    """Six drawn images, annotated as COCO does it: a crowd, a box without area, and gaps between the ids."""
    synthesize(folder, train_images=4, val_images=2, imgsz=64, seed=1)
    for path in (folder / "annotations").glob("*.json"):
        content = json.loads(path.read_text())
        first = content["annotations"][0]
        content["annotations"] += [first | {"id": 9001, "iscrowd": 1}, first | {"id": 9002, "bbox": [3, 3, 0, 5.5]}]
        path.write_text(json.dumps(content))
    truth = qat_data.truth.read_annotations(folder / "annotations/instances_val2017.json")
    found = [
        {"image_id": image, "category_id": box.category_id, "bbox": list(box.box), "score": 0.5}
        for image, boxes in truth.images.items()
        for box in boxes
    ]
    (folder / "detections.json").write_text(json.dumps(found))
    (folder / "list.txt").write_text(
        "".join(f"{image.file_name}\n" for image in read_coco(CocoLayout(root=folder)).train)
    )


def yolo(folder):
    (folder / "labels").mkdir()
    for number, text in enumerate(("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n", "1 0.1 0.1 0.9 0.1 0.5 0.8\n", "")):
        (folder / f"labels/{number}.txt").write_text(text)
    (folder / "train.txt").write_text("images/0.jpg\nimages/1.jpg\n")
    (folder / "val.txt").write_text("./images/2.jpg\n")
    (folder / "data.yaml").write_text(
        "path: .\ntrain: train.txt\nval: val.txt\nnc: 2\nnames:\n  0: cell\n  1: platelet\n"
    )


def prepared(folder):
    coco(folder / "source")
    prepare(read_coco(CocoLayout(root=folder / "source")), folder / "prepared", Request())


def runs(folder):
    """A run as qat-train leaves it, its correction and its results.csv."""
    shutil.copytree(FIXTURES / "run", folder, dirs_exist_ok=True)
    shutil.copy(FIXTURES / "qc" / "qc.json", folder)
    header = "                  epoch,         train/box_loss,   metrics/mAP50-95(B)"  # padded as by Ultralytics to 8.2
    rows = [f"{n:23},{1.5 / n:23.5f},{0.1 * n:23.5f}" for n in (1, 2, 3, 4, 5)]
    (folder / "results.csv").write_text("\n".join([header, *rows, ""]))


def artifacts(folder):
    for path in GOLDEN.glob("*.json"):
        shutil.copy(path, folder)


def configs(folder):
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "configs/campaigns/first.toml", folder / "campaign.toml")
    shutil.copy(ROOT / "packages/qat-train/src/qat_train/policies/default.toml", folder / "policy.toml")
    (folder / "run.toml").write_text(SPEC)
    (folder / "own.toml").write_text("[training]\nepochs = 7\n[qc]\nlr = 1e-4\n")
    (folder / "settings.txt").write_text("training.epochs=12")


SPEC = """
[run]
run_id = "n/seed0"
trajectory_id = "n/seed0"
seed = 0
series = ["raw", "ema"]
[model]
variant = "yolo10n"
checkpoint = "weights/n.pt"
[data]
dataset = "../data/dataset.json"
[training]
epochs = 3
imgsz = 64
batch = 8
lr0 = 2e-4
lrf = 0.1
[quantization]
bits = 4
policy = "default"
[ema]
decay = 0.99
[references]
directory = "refs"
[interventions]
dampening = 0.1
[overrides]
profile = "tiny"
"""


# What reads them ------------------------------------------------------------------------------------------------------


def owner(schema):
    module, _, name = OWNERS[schema].partition(":")
    return getattr(importlib.import_module(module), name)


def read_owned(path):
    return qat_artifacts.read(path, owner(qat_artifacts.read_header(GOLDEN / path.name).schema))


@functools.cache
def truth_of(folder):
    return qat_data.truth.read_annotations(folder / "annotations/instances_val2017.json")


def read_summary_and_verify(path):
    for file, summary in read_summaries([path]).items():
        verify(file, summary)


def read_configuration(path):
    project = next(folder for folder in path.parents if (folder / "configs").is_dir())
    asked = {"variant": "yolo10n", "seeds": [0], "methods": ["ema+qc"], "profile": "tiny"}
    return LadderRequest(project=project, root=project / "root", config=(str(project / "own.toml"),), **asked).resolve(
        "ema+qc"
    )


def read_images(path):
    images = read_coco(CocoLayout(root=path.parent)).train
    select(images, f"list:{path}", None, 0)


CONFIGS = (
    *("configs/ladder.toml", "configs/methods/ema-qc.toml", "configs/profiles/tiny.toml"),
    *("configs/variants/yolo10n.toml", "own.toml"),
)
READERS = [
    Reader("COCO", "truth", "annotations/instances_val2017.json", "json", qat_data.truth.read_annotations),
    Reader(
        "COCO",
        "source",
        "annotations/instances_train2017.json",
        "json",
        lambda p: read_coco(CocoLayout(root=p.parents[1])),
    ),
    Reader(
        "COCO",
        "detections",
        "detections.json",
        "json",
        lambda p: qat_data.detections.read_detections(p, truth_of(p.parent)),
    ),
    Reader("COCO", "list of images", "list.txt", "rows", read_images, separator="0"),
    Reader("YOLO", "data.yaml", "data.yaml", "rows", read_yolo, separator=" ", follows=True),
    Reader("YOLO", "labels", "labels/0.txt", "rows", lambda p: read_yolo(p.parents[1] / "data.yaml"), separator=" "),
    Reader(
        "YOLO", "list", "train.txt", "rows", lambda p: read_yolo(p.parent / "data.yaml"), separator="/", follows=True
    ),
    Reader("prepared", "truth", "prepared/dataset.json", "json", qat_data.truth.read_truth),
    Reader("prepared", "check", "prepared/dataset.json", "json", check_prepared, follows=True),
    Reader("prepared", "of a run", "prepared/dataset.json", "json", lambda p: qat_train.dataset.read_data(str(p))),
    Reader("runs", "results.csv", "results.csv", "rows", read_series, separator=","),
    Reader("runs", "metrics.jsonl of a report", "metrics.jsonl", "rows", qat_report.epochs.read_epochs, separator=","),
    Reader(
        "runs",
        "metrics.jsonl of a run",
        "metrics.jsonl",
        "rows",
        lambda p: qat_train.metrics.read_metrics(p.parent),
        separator=",",
    ),
    Reader(
        "runs", "run.json of a report", "run.json", "json", lambda p: qat_report.sources.read_source(p.parent, None)
    ),
    Reader("runs", "qc.json of a report", "qc.json", "json", lambda p: qat_report.sources.read_source(p.parent, p)),
    *(Reader("artifacts", path.stem, path.name, "json", read_owned) for path in sorted(GOLDEN.glob("*.json"))),
    Reader("views", "run summary of a gate", "qat-report-run-summary-1.0.json", "json", read_summary_and_verify),
    Reader(
        "views",
        "summaries of a report",
        "qat-report-run-summary-1.0.json",
        "json",
        lambda p: qat_report.finding.read_summaries([p]),
    ),
    Reader(
        "views",
        "decision of a report",
        "qat-gate-decision-1.0.json",
        "json",
        lambda p: qat_report.comparison.read_gate(p, p.parent),
    ),
    Reader("configs", "policy of a gate", "configs/gate.toml", "toml", qat_gate.read_policy),
    Reader("configs", "specification", "run.toml", "toml", qat_train.spec.read_spec),
    Reader(
        "configs",
        "policy of layers",
        "policy.toml",
        "toml",
        lambda p: qat_train.policy.load_policy(p.name, folder=p.parent),
    ),
    *(Reader("configs", Path(name).stem, name, "toml", read_configuration) for name in CONFIGS),
    Reader("configs", "campaign", "campaign.toml", "toml", lambda p: read_file(p, ROOT)),
    Reader(
        "configs",
        "--set",
        "settings.txt",
        "rows",
        lambda p: parse_setting(p.read_bytes().decode("utf-8", "surrogateescape")),
        separator="=",
    ),
]
FOLDERS = {
    "COCO": coco,
    "YOLO": yolo,
    "prepared": prepared,
    "runs": runs,
    "artifacts": artifacts,
    "views": artifacts,
    "configs": configs,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each family, with a canary beside it; made when it is asked for."""

    @functools.cache
    def make(family):
        tree = tmp_path_factory.mktemp("fuzz").resolve()
        folder = tree / "folder"
        folder.mkdir()
        prepare_environment(1)  # before an import of Ultralytics, which would write into the home folder
        FOLDERS[family](folder)
        for name in ("canary", "canary.json"):
            (tree / name).write_bytes(b"{}")
        return tree

    return make


def golden(data, form):
    if form == "json":
        return json.loads(data)
    return tomli.loads(data.decode()) if form == "toml" else data.decode()


def hurt(reader, tree, executions):
    """Read `executions` damaged files; returns how many were refused."""
    folder = tree / "folder"
    path = folder / reader.place
    whole = path.read_bytes()
    reader.read(path)  # as it is, it can be read
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=executions, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(files(golden(whole, reader.form), reader.form, reader.separator))
    def read(data):
        path.write_bytes(data)
        try:
            with watched(folder, tree, follows=reader.follows):
                reader.read(path)
            counts["read"] += 1
        except NAMED as error:
            counts["refused"] += 1 if str(error).strip() else pytest.fail("refused without a word")

    try:
        read()
    finally:
        path.write_bytes(whole)
    return counts


@pytest.mark.fault("extra-fuzz", "a damaged or hostile file is read or refused by name", how="real")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.id)
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(reader, folders, record_property):
    counts = hurt(reader, folders(reader.family), QUICK)
    record_property("fuzz executions", sum(counts.values()))
    assert counts["refused"]


def at(tree, dotted):
    """The container of a field, and its last key: `a.b` or `a.0`."""
    *path, last = dotted.split(".")
    for key in path:
        tree = tree[int(key) if isinstance(tree, list) else key]
    return tree, last


# Every field that names a file which the reader opens. Those that only say where something was are not opened.
NAMING = [
    ("prepared: truth", "val_annotations.file"),
    ("prepared: check", "val_annotations.file"),
    ("prepared: check", "data_yaml"),
    ("prepared: check", "train.files.0.file_name"),
    ("prepared: check", "train.files.0.image_id"),
    ("prepared: of a run", "data_yaml"),
    ("runs: run.json of a report", "files.metrics"),
    ("runs: run.json of a report", "files.checkpoint"),
    ("COCO: source", "images.0.file_name"),
    ("artifacts: qat-train-run-1.0", "files.ultralytics"),
    ("artifacts: qat-train-checkpoint-1.0", "tensors"),
    ("artifacts: qat-train-export-1.1", "files.packed"),
]


@pytest.mark.fault("extra-escapes", "a name in a file does not lead its reader out of its folder", how="real")
@pytest.mark.parametrize(("name", "field"), NAMING, ids=[" ".join(pair) for pair in NAMING])
def test_a_name_in_a_file_does_not_lead_its_reader_elsewhere(name, field, folders, record_property):
    reader = next(reader for reader in READERS if reader.id == name)
    tree = folders(reader.family)
    path = tree / "folder" / reader.place
    whole = path.read_bytes()
    reader.read(path)  # what is imported late is imported now
    try:
        for value in (*NAMES, str(tree / "canary"), f"../../{tree.name}/canary"):
            content = golden(whole, reader.form)
            container, key = at(content, field)
            container[key] = value
            path.write_text(spell(content, reader.form))
            with watched(tree / "folder", tree), contextlib.suppress(*NAMED):
                reader.read(path)
    finally:
        path.write_bytes(whole)
    record_property("fuzz executions", len(NAMES) + 2)


@pytest.mark.slow
@pytest.mark.fault("extra-fuzz", "20,000 damaged files of a family are read or refused by name", how="real")
@pytest.mark.parametrize("family", FOLDERS)
def test_twenty_thousand_damaged_files_of_a_family(family, folders, record_property):
    chosen = [reader for reader in READERS if reader.family == family]
    share = -(-SLOW // len(chosen))
    counts = [hurt(reader, folders(family), share) for reader in chosen]
    done = sum(sum(count.values()) for count in counts)
    record_property("fuzz executions", done)
    assert done >= SLOW
