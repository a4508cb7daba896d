"""Annotation files at the size of COCO's train2017, and images."""

from pathlib import Path

from qat_ladder.bench import peers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.inputs import annotations, emptied, images

FULL = 118_287  # images of train2017
_SUBSET = 20_000
_IMAGES = 2000


def _reading(file: Path) -> Case:
    def one(name: str, program: str, *needs: str) -> Contestant:
        return Contestant(name=name, command=python("-c", program, file), needs=needs)

    return Case(
        name="read",
        title="Reading the annotations",
        about="Whole processes. The floor is the bytes; ours decodes the fields that labels need into structs, and "
        "steps over the polygons, which are nine tenths of the file.",
        reference="pycocotools",
        rounds=1,
        contestants=(
            one("read the bytes", peers.READ),
            one("qat-data (msgspec, typed)", peers.TYPED),
            one("orjson", peers.ORJSON, "orjson"),
            one("json", peers.JSON),
            one("pycocotools", peers.PYCOCOTOOLS),
            one("faster-coco-eval", peers.FASTER, "faster_coco_eval"),
            one("hotcoco", peers.HOTCOCO, "hotcoco"),
        ),
    )


def prepared(name: str, root: Path, out: Path, number: int, *flags: str) -> Contestant:
    """`qat-data prepare` of a training subset."""
    asked: tuple[str | Path, ...] = ("--coco-root", root, "--out", out, "--train-images", str(number), *flags)
    return Contestant(name=name, command=python("-m", "qat_data", "prepare", *asked), before=emptied(out))


def _preparing(setup: Setup, root: Path, file: Path) -> Case:
    ours, load, convert = "qat-data prepare --labels-only", "pycocotools: load alone", "ultralytics: convert_coco"
    converted = setup.work / "converted"
    return Case(
        name="prepare",
        title=f"Labels of a subset of {setup.scaled(_SUBSET)} images",
        about="Ours reads and checks both annotation files, chooses the subset and writes its labels; no image is "
        "touched. pycocotools only loads the training file. convert_coco knows no subset: it writes labels of all. "
        "The floor is reading (above) and a file for each image: `open`, `write` and `close`. What was done: "
        "annotations are checked by sets, the collector rests while a million records stand, labels are made of "
        "chosen images only, those inside their image without the arithmetic of the edge, and a thread writes while "
        "they are made. What was considered and left: dividing the reading between cores, since a file is one JSON "
        "value; and arrays for all boxes at once, since the rules for a box would then stand in two places.",
        reference=load,
        rounds=2,
        contestants=(
            prepared(ours, root, setup.work / "labels", setup.scaled(_SUBSET), "--labels-only"),
            Contestant(name=load, command=python("-c", peers.PYCOCOTOOLS, file)),
            Contestant(
                name=convert,
                command=python("-c", peers.CONVERT, file.parent, converted),
                before=emptied(converted),
                environment={"YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(setup.work)},
                needs=("ultralytics",),
            ),
        ),
        targets=(
            Target(contestant=ours, to=load, at_most=1 / 5),
            Target(contestant=ours, to=load, at_most=1 / 3, of="peak_mb"),
            Target(contestant=ours, to=convert, at_most=1 / 5),
        ),
    )


def _checking(setup: Setup) -> Case:
    number = setup.scaled(_IMAGES)
    root = images(setup, number)
    folder = root / "train2017"
    return Case(
        name="images",
        title=f"Hashing and probing {number} images",
        about="Files in memory. Ours opens each image once, on all cores: header, EXIF orientation, SHA-256, end of a "
        "JPEG; and writes the prepared folder. The floor is SHA-256 on one core, divided by the number of cores.",
        reference="SHA-256 alone, one core",
        contestants=(
            Contestant(name="SHA-256 alone, one core", command=python("-c", peers.HASH, folder)),
            prepared("qat-data prepare", root, setup.work / "prepared", number),
            Contestant(
                name="ultralytics: verify_image, one core",
                command=python("-c", peers.VERIFY, folder),
                environment={"YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(setup.work)},
                needs=("ultralytics",),
            ),
        ),
        warm=True,
    )


def _cases(setup: Setup) -> list[Case]:
    root = annotations(setup, setup.scaled(FULL))
    file = root / "annotations" / "instances_train2017.json"
    return [_reading(file), _preparing(setup, root, file), _checking(setup)]


GROUP = Group(
    name="data",
    title="Data",
    about="Drawn annotation files with the counts of COCO's train2017: 118,287 images, 860,001 annotations with "
    "polygons, 508 MB (`qat-data synth --annotations-only`). Nothing else of COCO is in them.",
    cases=_cases,
)
