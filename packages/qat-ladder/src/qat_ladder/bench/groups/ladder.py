"""What a ladder costs beside the training alone, and what a correction costs beside it."""

from qat_ladder.bench import trainers
from qat_ladder.bench.case import Case, Contestant, Group, Setup, Target, python
from qat_ladder.bench.runs import IMGSZ, LEARNED, Runs
from qat_ladder.tasks import PROJECT

_CORRECTION, _LADDER = 0.8, 1.1
_EPOCHS = 6  # of the runs of a ladder


def _cases(setup: Setup) -> list[Case]:
    runs = Runs.of(setup)
    one, missing = runs.one, runs.missing
    ladder = (str(PROJECT), str(setup.work / "ladder"), str(runs.checkpoint), str(runs.coco_root))
    sizes = (str(_EPOCHS), str(IMGSZ))
    return [
        Case(
            name="correction",
            title="An epoch of Quantization Correction",
            about="COCO128 once, beside an epoch of the training that it corrects, evaluations of both left out. Its "
            "forward pass is the same; its backward pass needs gradients of activations, and none of weights. What "
            "was done: convolution and batch norm are one operation where the statistics are fixed, and all layers "
            "are quantized in one pass. The floor is two thirds of the operations of a training step.",
            reference="training",
            rounds=3,
            contestants=(
                one("training", trainers.EPOCH, LEARNED, ema=True),
                Contestant(
                    name="correction",
                    command=python("-c", trainers.CORRECT, runs.finished()),
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
            "is what `invoke ladder.plan --measure 8` foresaw of the whole. Epochs of seconds show what starting a "
            "process costs: each training and each correction imports torch, Ultralytics and ModelOpt, the last longer "
            "than the other two (`python -X importtime -c 'import qat_train.runner'`), and writes an exact state after "
            "each epoch. `epochs alone` is the training without either; with epochs of minutes the ratio is that of "
            "these. What was left: one process for a run and its correction, since a unit of work is a command that "
            "can be killed, repeated and sent elsewhere.",
            reference="Ultralytics, two trainings",
            rounds=1,
            contestants=(
                Contestant(
                    name="Ultralytics, two trainings",
                    command=python("-c", trainers.BARE, runs.dataset / "data.yaml", runs.checkpoint, *sizes),
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
    name="ladder",
    title="Ladder",
    about="YOLOv10n on COCO128 at 160 px: epochs of seconds, beside which the start of a process counts.",
    cases=_cases,
)
