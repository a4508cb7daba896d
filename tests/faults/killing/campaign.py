"""A ladder and its gate, killed at chosen points one after the other, and what is left of them.

A point is a place in the work of one product: either the n-th step to the disk (see `sitecustomize.py`) or a moment
after the product's start. Points follow the order in which a ladder works, so that each call gets further than the one
before and no work is killed for nothing.
"""

import contextlib
import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import attrs

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# Points of one pass by product, in the order of work; the gate's come after the ladder is whole.
LADDER = (
    ("qat_data prepare", 3),
    ("qat_train inspect", 1),
    ("qat_train run", 11),
    ("qat_qc run", 5),
    ("qat_report summarize", 5),
    ("qat_report compare", 3),
    ("invoke ladder.n", 3),
)
GATE = (("qat_gate check", 3), ("qat_report compare", 2), ("invoke gate.m", 1))
FLAGS = ("--profile", "tiny", "--device", "cpu", "--seeds", "0")
PATIENCE = 900  # seconds: a whole ladder of this size takes about one minute
SETTINGS = ("--set", "training.threads=1", "--set", "training.batch=8")


@attrs.frozen
class Event:
    """A line of the log: what a process was about to do."""

    at: float
    stage: str
    pid: int
    what: str
    number: int


@attrs.frozen
class Point:
    """Where to kill: before step `step` of `stage`, or `fraction` of the product's usual time after its start."""

    stage: str
    step: int | None
    fraction: float
    victim: str

    @property
    def kind(self):
        return "moment" if self.step is None else "step"


@attrs.frozen
class Lab:
    """A run root under test; the same path every time, so that no artifact differs by where it lies."""

    folder: Path
    data: Path
    nursery: str = ""

    @property
    def root(self):
        return self.folder / "root"

    @property
    def log(self):
        return self.folder / "killing.log"

    def events(self):
        if not self.log.exists():
            return []
        rows = (line.split("\t") for line in self.log.read_text().splitlines())
        return [Event(float(at), stage, int(pid), what, int(number)) for at, stage, pid, what, number in rows]

    def start(self, task, point=None):
        self.log.unlink(missing_ok=True)
        flags = [*FLAGS, *SETTINGS, "--coco-root", self.data] if task == "ladder.n" else []
        flags += ["--checkpoint", ROOT / "assets" / "yolov10n-demo.pt"] if task == "ladder.n" else []
        at = f"{point.stage}/{point.step}/{point.victim}" if point and point.step else ""
        searched = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        added = {"KILLING_LOG": str(self.log), "KILLING_AT": at, "KILLING_NURSERY": self.nursery}
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", task, *map(str, flags), "--root", str(self.root)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a group of its own: "all" ends the ladder and what it started
            env={**os.environ, "PYTHONPATH": searched, **added},
        )

    def finish(self, task):
        """Run a task to its end, an hour after the last kill; a gate that says NO-GO has done its work too."""
        grow_old(self.root)
        process = self.start(task)
        text = printed(process)
        assert process.returncode in ((0, 4) if task == "gate.m" else (0,)), text
        return text

    def kill(self, task, point, usual):
        """Run a task and kill it at a point. Returns what it printed, or None where it ended before."""
        process = self.start(task, point)
        if point.step is None:
            self._kill_at_a_moment(process, point, usual)
        text = printed(process)
        self._wait_for_the_dead()
        if process.returncode < 0 or any(event.what == "killed" for event in self.events()):
            return text
        assert process.returncode in (0, 4), text
        return None

    def _kill_at_a_moment(self, process, point, usual):
        limit = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < limit:
            started = [event for event in self.events() if (event.stage, event.what) == (point.stage, "start")]
            if started:
                break
            time.sleep(0.01)
        else:
            return
        time.sleep(max(0.0, started[0].at + point.fraction * usual - time.monotonic()))
        if process.poll() is not None or any(e.pid == started[0].pid and e.what == "end" for e in self.events()):
            return
        with self.log.open("a") as log:
            log.write(f"{time.monotonic()}\t{point.stage}\t{started[0].pid}\tkilled\t0\n")
        if point.victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(started[0].pid, signal.SIGKILL)

    def _wait_for_the_dead(self):
        """Until no process of the last call is left: what the nursery forked dies a moment after its caller."""
        for pid in {event.pid for event in self.events()}:
            for _ in range(2000):
                try:
                    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                except (FileNotFoundError, ProcessLookupError):
                    break
                if state == "Z":
                    break
                time.sleep(0.01)
            else:
                raise AssertionError(f"process {pid} outlives its ladder")


def printed(process):
    """What a ladder printed up to its end; one that hangs is killed and its product with it, and the test fails."""
    try:
        return process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def grow_old(root):
    """Let an hour pass for what was left half written: a ladder takes nothing away that may still be written."""
    for path in root.rglob(".*.tmp"):
        then = path.lstat().st_mtime - 3600
        os.utime(path, (then, then), follow_symlinks=False)


def lengths(events):
    """(steps, seconds) of each product as it ran last without a fault."""
    found = {}
    for end in (event for event in events if event.what == "end"):
        start = next(event for event in events if (event.pid, event.what) == (end.pid, "start"))
        found[end.stage] = (end.number, end.at - start.at)
    return found


def points(stages, usual, chance: random.Random):
    """One pass: of each product half of the points at steps to the disk, half at moments."""
    chosen = []
    for stage, number in stages:
        steps, _ = usual[stage]
        # Training goes on from its last epoch, so its points share its length; others begin anew.
        share = min(1.0, 3 / number) if stage == "qat_train run" else 1.0
        for place in range(number):
            step = chance.randint(1, max(1, round(share * steps))) if steps and place % 2 == 0 else None
            victim = "one" if stage.startswith("invoke") else chance.choice(["one", "all"])
            chosen.append(Point(stage, step, share * chance.random(), victim))
    return chosen


def by_stage(hit):
    return dict(sorted(Counter(point.stage for point in hit).items()))


# What is compared -----------------------------------------------------------------------------------------------------

# Everything in a run root is, but what says when, how long, and how often a run was gone on with:
# - the keys `created_at` and `seconds` of artifacts, at any depth, the time column of results.csv, dates in pages;
# - events of the kind `resumed`, and the lines and cells of a page that tell them.
# A hash of a file that holds such values is checked against the file instead of compared.
TIMES = frozenset({"created_at", "seconds"})
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
IN_A_CELL = re.compile(r"(?<=\| )resumed at epoch \d+(; resumed at epoch \d+)*(?= \|)")
# Not compared: logs grow with every call; .lock.json names a process; what Ultralytics writes for itself lacks or has
# twice the row of an epoch that was cut off, and nothing reads it; index.html is drawn from comparison.json, tells what
# was resumed, and is checked by the hash there.
ASIDE = re.compile(r"(^|/)(log\.txt|\.lock|\.lock\.json|index\.html)$|/ultralytics/")


def contents(root):
    """What each artifact says, by its place; two ladders that did the same have the same."""
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: _said(path) for name, path in files.items() if not ASIDE.search(name)}


def _said(path):
    data = path.read_bytes()
    if path.suffix == ".json":
        return _timeless(json.loads(data), path.parent)
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line), path.parent) for line in data.splitlines()]
    if path.name == "results.csv":
        return [row[:1] + row[2:] for row in csv.reader(data.decode().splitlines())]
    if path.suffix == ".md":
        text = IN_A_CELL.sub("–", DATE.sub("a date", data.decode()))  # the dash of a cell without events
        return [line for line in text.splitlines() if line and not line.startswith("- event: resumed ")]
    return hashlib.sha256(data).hexdigest()


def _timeless(value, folder):
    if isinstance(value, list):
        return [_timeless(item, folder) for item in value if not _resumed(item)]
    if not isinstance(value, dict):
        return value
    kept = {key: _timeless(item, folder) for key, item in value.items() if key not in TIMES}
    if value.keys() == {"path", "schema", "sha256"} and (folder / value["path"]).is_file():
        named = hashlib.sha256((folder / value["path"]).read_bytes()).hexdigest()
        kept["sha256"] = "as the file" if named == value["sha256"] else f"not that of {value['path']}"
    if "pages" in value:
        pages = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in value["pages"]}
        kept["pages"] = "as the files" if pages == value["pages"] else "not those of the files"
    return kept


def _resumed(item):
    return isinstance(item, dict) and item.get("kind") == "resumed" and item.keys() == {"detail", "epoch", "kind"}


def torn(root):
    """Artifacts that are there and not whole; what was cut off while it was written has a name of its own."""
    found = []
    for path in (path for path in root.rglob("*.json*") if path.suffix != ".tmp"):
        try:
            [
                json.loads(part)
                for part in (path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()])
            ]
        except ValueError:
            found.append(f"{path}: torn")
    return found


def differences(first, second):
    """Places of artifacts where two roots differ, such as `gate.json`, with the first that differs in each."""
    return [
        f"{name}: {str(first.get(name))[:2000]} became {str(second.get(name))[:2000]}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]
