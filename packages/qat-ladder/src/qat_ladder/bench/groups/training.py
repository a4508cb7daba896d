"""What quantization adds to a training step on this machine, ours and the peers', and what watching it adds."""

import subprocess
from pathlib import Path

import attrs

from qat_ladder.bench import trainers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.inputs import made_once
from qat_ladder.launch import call
from qat_ladder.tasks import PROJECT

_IMGSZ, _BATCH, _STEPS = 160, 16, 6  # with two steps of warm-up, COCO128's 128 images once
_OVERHEAD, _WATCHING, _CORRECTION, _LADDER = 1.04, 0.03, 0.8, 1.1
_EPOCHS = 6  # of the runs of a ladder
_GROWTH, _SMALL_BATCH = 1.1, 4
# 10⁹ operations of a forward pass at 640 px: Wang et al., YOLOv10 (arXiv 2405.14458), table 1.
_OPERATIONS = {"n": 6.7, "s": 21.6, "m": 59.1}
_PEERS = {  # name: quantizer, learned, module
    "torch.ao": ("torch-ao", False, "torch"),
    "ModelOpt": ("modelopt", False, "modelopt"),
    "Brevitas": ("brevitas", False, "brevitas"),
    "Brevitas, learned scales": ("brevitas", True, "brevitas"),
}


def _spec(
    folder: Path,
    name: str,
    dataset: Path,
    checkpoint: Path,
    quantization: str,
    *,
    ema: bool,
    series: str = '["raw"]',
    scale: str = "n",
    batch: int = _BATCH,
) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f"""\
[run]
run_id = "bench/seed0"
trajectory_id = "bench/seed0"
seed = 0
series = {series}

[model]
variant = "yolo10{scale}"
checkpoint = '{checkpoint}'

[data]
dataset = '{dataset / "dataset.json"}'

[training]
epochs = 1
imgsz = {_IMGSZ}
batch = {batch}
lr0 = 1e-4
lrf = 0.1
device = "cpu"

[ema]
enabled = {str(ema).lower()}

[quantization]
init = "max"
{quantization}
""",
        encoding="utf-8",
    )
    return path


def _random(setup: Setup, dataset: Path, size: str) -> Path:
    """Weights of another size; how long a step takes does not depend on them."""

    def make(out: Path) -> None:
        program = python("-c", trainers.RANDOM, f"yolov10{size}.yaml", dataset / "data.yaml", out)
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)

    return made_once(setup.work / f"yolov10{size}-random.pt", make)


def _cases(setup: Setup) -> list[Case]:
    real = setup.data
    checkpoint = real / "checkpoints" / "yolov10n-coco.pt" if real else None
    missing = "" if checkpoint and checkpoint.is_file() else "needs $QAT_TEST_DATA with COCO128 and its checkpoint"
    folder = setup.work / "training"
    folder.mkdir(exist_ok=True)
    dataset = setup.work / "coco128-prepared"
    if real and not missing:
        root = real / "data" / "coco128"
        made_once(dataset, lambda out: call("qat-data", "prepare", "--coco-root", root, "--out", out))

    def one(
        name: str, program: str, quantization: str, *needs: str, ema: bool = False, steps: int = _STEPS, size: str = ""
    ) -> Contestant:
        slug = "".join(c if c.isalnum() else "-" for c in f"{name}-{'ema' if ema else 'raw'}")
        if size:
            weights = _random(setup, dataset, size) if not missing else Path()
            spec = _spec(folder, slug, dataset, weights, quantization, ema=ema, scale=size, batch=_SMALL_BATCH)
        else:
            spec = _spec(folder, slug, dataset, checkpoint or Path(), quantization, ema=ema)
        return Contestant(
            name=name, command=python("-c", program, spec, str(steps)), timed="printed", needs=needs, missing=missing
        )

    learned = "bits = 4\nlearned = true"
    finished = setup.work / "finished-run"
    if not missing:
        spec = _spec(folder, "finished", dataset, checkpoint or Path(), learned, ema=True, series='["raw", "ema"]')
        made_once(finished, lambda out: call("qat-train", "run", "--spec", spec, "--out", out))
    ladder = (str(PROJECT), str(setup.work / "ladder"), str(checkpoint), str(real and real / "data" / "coco128"))
    sizes = (str(_EPOCHS), str(_IMGSZ))

    float_step = one("FP32", trainers.STEP, "bits = 32")
    return [
        Case(
            name="step",
            title="One training step, 4-bit weights over floating point",
            about=f"YOLOv10n, {_IMGSZ} px, batch {_BATCH}, fp32 on the CPU: the median of {_STEPS} steps of COCO128 "
            "as a run makes them: loading, loss, optimizer and the tracker of oscillations included, no average. The "
            "floor of the quantizer's own work is six passes over 2.8 million weights, four of them forward, at 22 MB "
            "read and written each. What was tried and left: one flat buffer for all layers, since a layer fits the "
            "cache of a CPU and 11 MB do not; a mask of booleans for the clipped weights, since hardtanh's gradient "
            "needs none; ModelOpt's quantizer and layer called for each weight, which is Python. "
            "`qat_train.weight_pass` computes all layers in one node of the graph, bit-equal to the layers one by one.",
            reference="FP32",
            rounds=3,
            contestants=(
                float_step,
                one("qat-train", trainers.STEP, "bits = 4"),
                one("qat-train, learned scales", trainers.STEP, learned),
                *(
                    one(name, trainers.STEP, f'bits = 4\nquantizer = "{key}"\nlearned = {str(learned).lower()}', module)
                    for name, (key, learned, module) in _PEERS.items()
                ),
            ),
            targets=tuple(
                Target(contestant=name, to="FP32", at_most=_OVERHEAD)
                for name in ("qat-train", "qat-train, learned scales")
            ),
        ),
        Case(
            name="watching",
            title="Average and tracker of oscillations",
            about="Both together, once a step, as a part of the same step in floating point. The average is one pass "
            "over all weights; the tracker quantizes them once, with learned scales twice, and keeps what it counts in "
            "int8.",
            reference="FP32",
            rounds=3,
            contestants=(
                float_step,
                one("fixed scales", trainers.WATCH, "bits = 4", ema=True, steps=20),
                one("learned scales", trainers.WATCH, learned, ema=True, steps=20),
            ),
            targets=tuple(
                Target(contestant=name, to="FP32", at_most=_WATCHING) for name in ("fixed scales", "learned scales")
            ),
        ),
        Case(
            name="state",
            title="The exact state after an epoch",
            about="Weights, average, optimizer and tracker, written and synced to the disk, beside an epoch of COCO128 "
            "at 160 px, evaluations left out; on all of COCO an epoch is 900 times as long. The floor is the disk's. "
            "It is written before the epoch is reported, not beside the next one: what was reported is on the disk.",
            reference="training",
            rounds=3,
            contestants=(
                one("training", trainers.EPOCH, learned, ema=True),
                one("state", trainers.STATE, learned, ema=True),
            ),
        ),
        Case(
            name="sizes",
            title="A training step of n, s and m",
            about=f"{_IMGSZ} px, batch {_SMALL_BATCH}, random weights; by the operations of a forward pass.",
            rounds=2,
            contestants=tuple(
                attrs.evolve(
                    one(f"{line}, {size}", trainers.STEP, quantization, steps=3, size=size), line=line, size=operations
                )
                for line, quantization in (("FP32", "bits = 32"), ("4 bits", "bits = 4"))
                for size, operations in _OPERATIONS.items()
            ),
            targets=(Target(contestant="4 bits", of="exponent", at_most=_GROWTH),),
        ),
        Case(
            name="correction",
            title="An epoch of Quantization Correction",
            about="COCO128 once, beside an epoch of the training that it corrects, evaluations of both left out. Its "
            "forward pass is the same; its backward pass needs gradients of activations, and none of weights.",
            reference="training",
            rounds=3,
            contestants=(
                one("training", trainers.EPOCH, learned, ema=True),
                Contestant(
                    name="correction",
                    command=python("-c", trainers.CORRECT, finished),
                    timed="printed",
                    missing=missing,
                ),
            ),
            targets=(Target(contestant="correction", to="training", at_most=_CORRECTION),),
        ),
        Case(
            name="ladder",
            title="Three methods over two seeds",
            about=f"`invoke ladder.n` with baseline, ema and ema+qc, {_EPOCHS} epochs of COCO128, beside the two "
            "trainings alone by Ultralytics, one process, one validation an epoch and its last one of the best "
            "weights. Six rows come from two runs, so no third is trained; what Ultralytics has no counterpart of, the "
            "validations of the average, the corrections and the references, is taken from the records and is not in "
            "the seconds: the record lists each. Preparing the data, starting processes and the report are. `planned` "
            "is what `invoke ladder.plan --measure 8` foresaw of the whole.",
            reference="Ultralytics, two trainings",
            rounds=1,
            contestants=(
                Contestant(
                    name="Ultralytics, two trainings",
                    command=python("-c", trainers.BARE, dataset / "data.yaml", str(checkpoint), *sizes),
                    timed="printed",
                    missing=missing,
                ),
                Contestant(
                    name="invoke ladder.n",
                    command=python("-c", trainers.LADDER, *ladder, *sizes),
                    timed="printed",
                    missing=missing or ("" if (PROJECT / "tasks.py").is_file() else "no tasks.py in this folder"),
                ),
            ),
            targets=(Target(contestant="invoke ladder.n", to="Ultralytics, two trainings", at_most=_LADDER),),
        ),
    ]


GROUP = Group(
    name="training",
    title="Training",
    about="On a GPU, and at 640 px, nothing was measured.",
    cases=_cases,
)
