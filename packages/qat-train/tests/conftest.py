"""A tiny data set drawn on the spot, and random weights: the tests need this package and nothing else."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from qat_train.environment import prepare_environment

THREADS = prepare_environment()

import qat_artifacts  # noqa: E402  # after the environment: Ultralytics reads it at import
from qat_train.spec import DataKey, EmaKey, ModelKey, QuantizationKey, RunKey, RunSpec, TrainingKey  # noqa: E402

CLASSES = ("disc", "square")
IDS = {"images": [40, 7, 900, 31], "categories": [3, 18]}  # as COCO has them: without order, with gaps


def draw_dataset(root: Path, *, train: int = 8, val: int = 4, size: int = 64) -> Path:
    """Write what `qat-data prepare` would: images, labels, lists, data.yaml, dataset.json. Returns the latter."""
    from PIL import Image, ImageDraw

    rng = random.Random(0)
    for split, count in (("train", train), ("val", val)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        lines = []
        for i in range(count):
            image = Image.new("RGB", (size, size), tuple(rng.randrange(60) for _ in range(3)))
            draw = ImageDraw.Draw(image)
            labels = []
            for _ in range(2):
                w = rng.randrange(16, 30)
                x, y = rng.randrange(size - w), rng.randrange(size - w)
                kind = rng.randrange(2)
                shape = draw.ellipse if kind == 0 else draw.rectangle
                shape((x, y, x + w, y + w), fill=tuple(rng.randrange(120, 256) for _ in range(3)))
                labels.append(f"{kind} {(x + w / 2) / size} {(y + w / 2) / size} {w / size} {w / size}")
            image.save(root / "images" / split / f"{i}.jpg", quality=95)
            (root / "labels" / split / f"{i}.txt").write_text("\n".join(labels) + "\n")
            lines.append(f"./images/{split}/{i}.jpg")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (root / "data.yaml").write_text(f"train: train.txt\nval: val.txt\nnames:\n{names}")
    body = {
        "schema": "qat-data/dataset",
        "version": "1.0",
        "created_by": "test",
        "coco_root": "drawn",
        "data_yaml": "data.yaml",
        "fingerprint": f"drawn-{train}-{val}-{size}",
        "classes": [{"index": i, "name": name} for i, name in enumerate(CLASSES)],
        "selection": {
            "data_seed": 0,
            "train": "hash",
            "val": "first",
            "train_images_requested": None,
            "val_images_requested": None,
        },
        "train": {"images": train, "fingerprint": "t"},
        "val": {"images": val, "fingerprint": "v"},
    }
    qat_artifacts.write_text(root / "dataset.json", qat_artifacts.dumps(body))
    return root / "dataset.json"


def write_identifiers(dataset):
    """What `qat-data prepare` would say of ids in a drawn data set."""
    body = json.loads(dataset.read_text())
    body["source"] = {"format": "coco"}
    for entry, category in zip(body["classes"], IDS["categories"], strict=True):
        entry["category_id"] = category
    body["val"]["files"] = [{"image_id": str(i), "file_name": f"{n}.jpg"} for n, i in enumerate(IDS["images"])]
    dataset.write_text(json.dumps(body))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Random yolov10n weights for the two drawn classes, as a .pt file."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from qat_train.detector import save_pt

    torch.manual_seed(0)
    model = DetectionModel("yolov10n.yaml", nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    path = tmp_path_factory.mktemp("weights") / "yolov10n-random.pt"
    save_pt(model, path, train_arguments={"imgsz": 64, "task": "detect"})
    return path


@pytest.fixture
def make_spec(dataset, checkpoint):
    """Specification of a two-epoch run at 64 px; keyword arguments replace keys of a section."""

    def make(*, run=None, model=None, training=None, quantization=None, ema=None, data=None, **rest):
        return RunSpec(
            run=RunKey(**{"run_id": "tiny/seed0", "trajectory_id": "tiny/seed0", "seed": 0, **(run or {})}),
            model=ModelKey(**{"variant": "yolo10n", "checkpoint": str(checkpoint), **(model or {})}),
            data=DataKey(**{"dataset": str(dataset), **(data or {})}),
            training=TrainingKey(
                **{"epochs": 2, "imgsz": 64, "batch": 4, "lr0": 1e-3, "lrf": 0.1, "device": "cpu", **(training or {})}
            ),
            quantization=QuantizationKey(**(quantization or {})),
            ema=EmaKey(**(ema or {})),
            **rest,
        )

    return make


@pytest.fixture
def train(tmp_path):
    """Run a specification in a fresh folder; returns (run record, folder)."""
    from qat_train.runner import execute

    def run(spec, name="run", *, report=lambda record, epochs: None, **options):
        out = tmp_path / name
        return execute(spec, out, threads=THREADS, report=report, **options), out

    return run


class Cut(Exception):
    """Stands for the death of a process."""


@pytest.fixture
def train_cut_off(train):
    """As `train`, but that the run dies after `after` epochs and the same call again goes on."""

    def run(spec, *, after=1, resume="must"):
        def cut(record, _epochs):
            if record.epoch == after:
                raise Cut

        with pytest.raises(Cut):
            train(spec, "cut", report=cut)
        return train(spec, "cut", resume=resume)

    return run


@pytest.fixture(scope="session")
def shared_weights():
    """Folder of real checkpoints; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("QAT_TEST_DATA", default)) / "checkpoints"
    if not folder.is_dir():
        pytest.skip(f"no checkpoints in {folder}; set QAT_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A completed run of one epoch whose random weights detect something, and its data set."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from qat_train.detector import save_pt
    from qat_train.runner import execute

    from .exported import settle_statistics

    folder = tmp_path_factory.mktemp("export")
    dataset = draw_dataset(folder / "data")
    write_identifiers(dataset)
    torch.manual_seed(0)
    model = DetectionModel("yolov10n.yaml", nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    settle_statistics(model, torch.rand(8, 3, 64, 64))
    for level in model.model[-1].one2one_cv3:
        level[-1].bias.data.uniform_(-3.0, -1.0)
    save_pt(model, folder / "random.pt", train_arguments={"imgsz": 64, "task": "detect"})
    spec = RunSpec(
        run=RunKey(run_id="tiny/seed0", trajectory_id="tiny/seed0", seed=0),
        model=ModelKey(variant="yolo10n", checkpoint=str(folder / "random.pt")),
        data=DataKey(dataset=str(dataset)),
        training=TrainingKey(epochs=1, imgsz=64, batch=4, lr0=1e-4, lrf=0.1, device="cpu"),
    )
    execute(spec, folder / "run", threads=THREADS, report=lambda record, epochs: None)
    return folder / "run"


def export_apart(run, out):
    """Standard output of the command in a process of its own."""
    arguments = ["export", "--run", run, "--method", "ema", "--out", out, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "qat_train", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def exported(finished, tmp_path_factory):
    """(folder, standard output) of the command."""
    out = tmp_path_factory.mktemp("files") / "export"
    return out, export_apart(finished, out)
