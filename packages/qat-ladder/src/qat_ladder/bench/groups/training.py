"""What quantization adds to a training step on this machine, ours and the peers', and what watching it adds."""

import attrs

from qat_ladder.bench import trainers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target
from qat_ladder.bench.runs import BATCH, IMGSZ, LEARNED, SMALL_BATCH, STEPS, Runs

_OVERHEAD, _WATCHING, _GROWTH = 1.04, 0.03, 1.1
# 10⁹ operations of a forward pass at 640 px: Wang et al., YOLOv10 (arXiv 2405.14458), table 1.
_OPERATIONS = {"n": 6.7, "s": 21.6, "m": 59.1}
OURS = {"qat-train": "bits = 4", "qat-train, learned scales": LEARNED}
_PEERS = {  # name: quantizer, learned, module
    "torch.ao": ("torch-ao", False, "torch"),
    "ModelOpt": ("modelopt", False, "modelopt"),
    "Brevitas": ("brevitas", False, "brevitas"),
    "Brevitas, learned scales": ("brevitas", True, "brevitas"),
}


def steps(runs: Runs, *, count: int = STEPS) -> tuple[Contestant, ...]:
    """The median of `count` training steps: in floating point, ours with fixed and learned scales, the peers'."""
    own = {"FP32": "bits = 32", **OURS}
    return (
        *(runs.one(name, trainers.STEP, text, steps=count) for name, text in own.items()),
        *(
            runs.one(
                name,
                trainers.STEP,
                f'bits = 4\nquantizer = "{key}"\nlearned = {str(learned).lower()}',
                module,
                steps=count,
            )
            for name, (key, learned, module) in _PEERS.items()
        ),
    )


def _cases(setup: Setup) -> list[Case]:
    runs = Runs.of(setup)
    one, stepping = runs.one, steps(runs)
    return [
        Case(
            name="step",
            title="One training step, 4-bit weights over floating point",
            about=f"YOLOv10n, {IMGSZ} px, batch {BATCH}, fp32 on the CPU: the median of {STEPS} steps of COCO128 "
            "as a run makes them: loading, loss, optimizer and the tracker of oscillations included, no average. The "
            "floor of the quantizer's own work is six passes over 2.8 million weights, four of them forward, at 22 MB "
            "read and written each. What was tried and left: one flat buffer for all layers, since a layer fits the "
            "cache of a CPU and 11 MB do not; a mask of booleans for the clipped weights, since hardtanh's gradient "
            "needs none; ModelOpt's quantizer and layer called for each weight, which is Python. "
            "`qat_train.weight_pass` computes all layers in one node of the graph, bit-equal to the layers one by one.",
            reference="FP32",
            rounds=3,
            contestants=stepping,
            targets=tuple(Target(contestant=name, to="FP32", at_most=_OVERHEAD) for name in OURS),
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
                stepping[0],
                one("fixed scales", trainers.WATCH, "bits = 4", ema=True, steps=20),
                one("learned scales", trainers.WATCH, LEARNED, ema=True, steps=20),
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
                one("training", trainers.EPOCH, LEARNED, ema=True),
                one("state", trainers.STATE, LEARNED, ema=True),
            ),
        ),
        Case(
            name="sizes",
            title="A training step of n, s and m",
            about=f"{IMGSZ} px, batch {SMALL_BATCH}, random weights; by the operations of a forward pass.",
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
    ]


GROUP = Group(
    name="training",
    title="Training",
    about="At 160 px, on the CPU; a group of its own has a GPU. At 640 px on the CPU nothing was measured.",
    cases=_cases,
)
