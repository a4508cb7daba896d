"""Programs of the training group, given to an interpreter by `-c`; text, as those of the peers."""

# A step as a run makes it: images loaded, forward, backward, optimizer, tracker, average.
STEP = """\
import json, sys
from pathlib import Path
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.spec import read_spec
spec = read_spec(Path(sys.argv[1]))
threads = prepare_environment(spec.training.threads)
with quiet_stdout():
    from qat_train.pace import measure
    pace = measure(spec, steps=int(sys.argv[2]), threads=threads)
print(json.dumps({"seconds": pace.step_seconds, "spread": round(pace.step_spread, 4), "threads": threads}))
"""

# What every step adds to watch and to average: weights are moved as a small step would, which is not counted.
WATCH = """\
import json, statistics, sys, time
from pathlib import Path
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.spec import read_spec
spec = read_spec(Path(sys.argv[1]))
prepare_environment(spec.training.threads)
with quiet_stdout():
    import torch
    from qat_train.averaging import build_ema, schedule
    from qat_train.detector import convolution_sites, load_detector, make_trainable, reparameterise
    from qat_train.insertion import insert_quantizers, learn_scales
    from qat_train.oscillation import Tracker
    from qat_train.policy import assign_bits, load_policy
    model = load_detector(spec.model.checkpoint).model
    reparameterise(model)
    make_trainable(model)
    bits = assign_bits(load_policy(spec.quantization.policy), convolution_sites(model), spec.quantization.bits)
    insert_quantizers(model, bits, spec.quantization.granularity)
    if spec.quantization.learned:
        learn_scales(model)
    average, tracker = build_ema(model, schedule(spec.ema, 100)), Tracker(model, bits=spec.quantization.bits)
    seconds = []
    for _ in range(int(sys.argv[2]) + 2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-4)
        started = time.perf_counter()
        tracker.update()
        average.update(model)
        seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": statistics.median(seconds[2:]), "layers": len(tracker.layers)}))
"""

# An epoch of training, its evaluations left out: steps times their median.
EPOCH = STEP.replace(
    '"seconds": pace.step_seconds', '"seconds": pace.step_seconds * -(-pace.train_images // pace.batch)'
)

# A detector with random weights that knows a data set's classes.
RANDOM = """\
import sys
from pathlib import Path
from qat_train.environment import prepare_environment
prepare_environment()
import yaml
from qat_train.detector import save_pt
from ultralytics.nn.tasks import DetectionModel
names = yaml.safe_load(Path(sys.argv[2]).read_text())["names"]
model = DetectionModel(sys.argv[1], nc=len(names), verbose=False)
model.names = names
save_pt(model, Path(sys.argv[3]), train_arguments={"imgsz": 640, "task": "detect"})
"""

# What a run waits for at the end of an epoch until its state is on the disk.
STATE = """\
import json, sys, tempfile, time
from pathlib import Path
from qat_train.environment import prepare_environment, quiet_stdout
from qat_train.spec import read_spec
spec = read_spec(Path(sys.argv[1]))
threads = prepare_environment(spec.training.threads)
with quiet_stdout(), tempfile.TemporaryDirectory() as out:
    from qat_train.runner import execute
    from qat_train.trainer import QatTrainer
    spent, sizes, save = [], [], QatTrainer._save_state
    def timed(self, epoch):
        started = time.perf_counter()
        save(self, epoch)
        spent.append(time.perf_counter() - started)
        sizes.append(max(path.stat().st_size for path in self._state_folder.iterdir()))
    QatTrainer._save_state = timed
    execute(spec, Path(out), threads=threads, report=lambda *_: None)
print(json.dumps({"seconds": spent[-1], "size": f"{sizes[-1] / 1e6:.0f} MB"}))
"""

# An epoch of Quantization Correction of a finished run: steps times their median, as of training.
CORRECT = """\
import itertools, json, statistics, sys, tempfile
from pathlib import Path
from qat_train.environment import quiet_stdout
with quiet_stdout(), tempfile.TemporaryDirectory() as out:
    from qat_qc.running import correct, load_task
    spent = []
    task = load_task(Path(sys.argv[1]), "ema")
    record = correct(task, Path(out), weights="ema", report=lambda progress: spent.append(progress.seconds))
step = statistics.median(later - sooner for sooner, later in itertools.pairwise(spent))
print(json.dumps({"seconds": step * record.steps, "steps": record.steps}))
"""

# A whole ladder; what bare training has no counterpart of is taken from its records, subtracted, and printed, beside
# what the planner said of it from some steps of its own.
LADDER = """\
import json, shutil, subprocess, sys, time
from pathlib import Path
project, root, checkpoint, coco_root, epochs, imgsz = sys.argv[1:]
folder = Path(root)
shutil.rmtree(folder, ignore_errors=True)
flags = {"seeds": "0,1", "methods": "baseline,ema,ema+qc", "profile": "full", "device": "cpu"}
flags |= {"coco-root": coco_root, "checkpoint": checkpoint}
invoke = [sys.executable, "-m", "invoke", "--search-root", project]
options = [f"--{name}={value}" for name, value in flags.items()]
options += [f"--set=training.{key}" for key in (f"epochs={epochs}", f"imgsz={imgsz}", "lr0=1e-4", "warmup_epochs=0.0")]
asked = ["ladder.plan", *options, f"--root={root}-plan", "--variants=n", "--measure=8", "--json"]
plan = json.loads(subprocess.run([*invoke, *asked], check=True, stdout=subprocess.PIPE).stdout)
shutil.rmtree(f"{root}-plan")
began = time.perf_counter()
subprocess.run([*invoke, "ladder.n", *options, f"--root={root}"], check=True, stdout=sys.stderr)
whole = time.perf_counter() - began
runs = [json.loads(path.read_bytes()) for path in folder.glob("trajectories/*/*/*/run.json")]
lines = [json.loads(line) for path in folder.glob("trajectories/*/*/*/metrics.jsonl") for line in path.open()]
corrected = [json.loads(path.read_bytes()) for path in folder.glob("trajectories/*/*/*/qc/*/qc.json")]
assert len(runs) == len(corrected) == 2, "two runs give all six rows"
more = {
    "validations of the average": sum(line["ema"]["seconds"] for line in lines),
    "corrections, evaluated before and after": sum(one["seconds"] + one["after"]["seconds"] for one in corrected),
    "references, once": sum(runs[0]["references"][name]["seconds"] for name in ("fp32", "ptq")),
}
alone = sum(line["seconds"] - sum(line[series]["seconds"] for series in ("raw", "ema")) for line in lines)
times = {"epochs alone": alone, "planned": plan["total"]["seconds"], "whole": whole} | more
shown = {name: f"{value:.1f} s" for name, value in times.items()}
print(json.dumps({"seconds": whole - sum(more.values())} | shown))
"""

# Ultralytics' own training of the same two runs, on all cores as ours.
BARE = """\
import json, os, sys, tempfile, time
began = time.perf_counter()
data, checkpoint, epochs, imgsz = sys.argv[1:]
cores = len(os.sched_getaffinity(0))
os.environ |= {"OMP_NUM_THREADS": str(cores), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
with tempfile.TemporaryDirectory() as folder:
    os.environ["YOLO_CONFIG_DIR"] = folder
    import torch
    from ultralytics import YOLO
    marks = []
    for seed in (0, 1):
        model = YOLO(checkpoint)
        for event in ("on_train_epoch_start", "on_train_epoch_end"):
            model.add_callback(event, lambda _: marks.append(time.perf_counter()))
        model.add_callback("on_train_start", lambda _: torch.set_num_threads(cores))
        model.train(
            data=data, epochs=int(epochs), imgsz=int(imgsz), batch=16, nbs=16, lr0=1e-4, lrf=0.1, optimizer="AdamW",
            weight_decay=5e-4, warmup_epochs=0.0, mosaic=0.0, close_mosaic=0, workers=0, amp=False, device="cpu",
            seed=seed, plots=False, verbose=False, project=folder, name=f"seed{seed}",
        )
alone = sum(end - start for start, end in zip(marks[::2], marks[1::2], strict=True))
print(json.dumps({"seconds": time.perf_counter() - began, "epochs alone": f"{alone:.1f} s"}))
"""
