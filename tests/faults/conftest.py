"""The fault table, docs/faults.md, written from the tests that ran; fixtures that faults of any kind share.

Every test of a case carries `@pytest.mark.fault("B2-12", "two processes, one run root", how="real")`. `how` is "real"
where this machine can do the thing itself, else "simulated: " and the seam it was done at. A test that counts something
says so with `record_property("kills", n)`, `"fuzz executions"` or `"losses"`: the page adds them up.

A row whose test was left out of a run (`-k`, another file) keeps the result that the page has: the whole takes long,
and a part may be run again.
"""

import platform
import re
import shlex
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import attrs
import pytest

from ..contracts.test_gate_corpus import Ladder
from .coco import CocoRoot
from .commands import DEMO, appears, call, start

COUNTED = ("kills", "fuzz executions", "losses")


def pytest_addoption(parser):
    help = "write the fault table, as Markdown, from what this run collects"
    parser.addoption("--faults-table", type=Path, metavar="PATH", help=help)


def pytest_configure(config):
    config.pluginmanager.register(Table(config), "faults-table")


@attrs.frozen
class Row:
    """One case as one test function shows it; its parametrized runs are one row."""

    case: str
    text: str
    how: str
    test: str
    runs: list = attrs.field(factory=list)  # node ids


def order(cells):
    """B2-2 before B2-12; cases of our own after the table's."""
    case, text, _, test, _ = cells
    parts = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", case)]
    return not case.startswith("B2-"), parts, test, text


def file_of(test):
    """The file of a test, as the page names it."""
    return test.strip("`").partition("::")[0]


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def cells_of(line):
    """The five cells of a row of the page, as they stand there; none of another line."""
    cells = [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
    return cells if len(cells) == 5 and re.match(r"(B2|extra)-", cells[0]) else []


class Table:
    """Collects what the marks say and what became of the tests."""

    def __init__(self, config):
        self.config = config
        self.rows = {}
        self.outcomes = {}  # node id -> (outcome, reason)
        self.counts = {}  # node id -> what it counted

    @pytest.hookimpl(tryfirst=True)  # before -m and -k take tests out: those stand in the table as not run
    def pytest_collection_modifyitems(self, items):
        for item in items:
            for mark in item.iter_markers("fault"):
                case, text, how = self._read(item, *mark.args, **mark.kwargs)
                test = item.nodeid.partition("[")[0]
                row = self.rows.setdefault((case, text, test), Row(case, text, how, test))
                row.runs.append(item.nodeid)

    @staticmethod
    def _read(item, case, text, *, how):
        if not re.fullmatch(r"(B2|extra)-[\w-]+", case) or not re.match(r"real$|simulated: \S", how):
            raise pytest.UsageError(
                f"{item.nodeid}: a fault is marked (case, text, how), such as ('B2-12', 'two processes, one run root',"
                f" how='real' or how='simulated: SEAM'), not {(case, text, how)}"
            )
        return case, text, how

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":  # a fixture that fails or skips has no call
            reason = re.sub(r"^Skipped: ", "", report.longrepr[2]) if report.skipped else ""
            self.outcomes[report.nodeid] = (report.outcome, reason)
        if report.when == "call":
            self.counts[report.nodeid] = {k: v for k, v in report.user_properties if k in COUNTED}

    def pytest_sessionfinish(self):
        path = self.config.getoption("--faults-table", default=None)
        if path is not None:
            path.write_text(self.page(path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")

    def result(self, row, known):
        """What became of the runs of a row, such as "passed (3), 12 kills; skipped: no mount"; `known` if none ran."""
        if known and not any(run in self.outcomes for run in row.runs):
            return known
        became = Counter(self.outcomes.get(run, ("not run", "")) for run in row.runs)
        counted = sum((Counter(self.counts.get(run, {})) for run in row.runs), Counter())
        counts = "".join(f", {n} {name}" for name, n in sorted(counted.items()))
        return "; ".join(
            outcome
            + (f" ({n})" if n > 1 else "")
            + (counts if outcome == "passed" else "")
            + (reason and f": {reason}")
            for (outcome, reason), n in sorted(became.items())
        )

    def page(self, before):
        """The page; `before` is what it was."""
        known = {
            (case, text, test): [case, text, how, test, result]
            for case, text, how, test, result in filter(None, map(cells_of, before.splitlines()))
        }
        fresh = {}
        for row in self.rows.values():
            case, text, how, test = map(cell, (row.case, row.text, row.how, f"`{row.test}`"))
            result = cell(self.result(row, known.get((case, text, test), [""])[-1]))
            fresh[case, text, test] = [case, text, how, test, result]
        collected = {file_of(test) for _, _, test in fresh}
        kept = {key: cells for key, cells in known.items() if file_of(key[2]) not in collected}
        rows = sorted((fresh | kept).values(), key=order)
        results = "\n".join({test: result for *_, test, result in rows}.values())  # several rows may be of one test
        found = Counter()
        for outcome, n in re.findall(r"(?:^|; )(passed|failed|skipped|not run)(?: \((\d+)\))?", results, re.MULTILINE):
            found[outcome] += int(n or 1)
        for n, name in re.findall(rf", (\d+) ({'|'.join(COUNTED)})\b", results):
            found[name] += int(n)
        facts = {
            "cases": len({case for case, *_ in rows}),
            "real": sum(how == "real" for _, _, how, _, _ in rows),
            "simulated": sum(how != "real" for _, _, how, _, _ in rows),
            **{name: found[name] for name in ("passed", "failed", "skipped", "not run", *COUNTED)},
        }
        command = shlex.join(["pytest", *map(str, self.config.invocation_params.args)])
        machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        head = [
            "# Faults",
            "",
            "What breaks, what then happens, and the test that shows it. Written by `nox -s faults`, last on "
            f"{time.strftime('%Y-%m-%d', time.gmtime())} ({machine}) by",
            "",
            f"    {command}",
            "",
            "where rows whose tests a call leaves out keep their last result.",
            "",
            "| " + " | ".join(facts) + " |",
            "|" + "---:|" * len(facts),
            "| " + " | ".join(map(str, facts.values())) + " |",
            "",
            "`B2-n` is a case of the table this project was planned with, `extra-...` one of our own. Real: the",
            "machine did it. Simulated: it cannot here, and the nearest seam was made to answer as it would. A loss is",
            "a finished epoch, a result or a user's file that was gone or changed after the fault.",
            "",
            "| case | what happens | real or simulated | test | result |",
            "|---|---|---|---|---|",
        ]
        return "\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in rows)]) + "\n"


# Fixtures -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path):
    return CocoRoot(tmp_path / "coco")


@pytest.fixture
def mounted(tmp_path):
    """Mount file systems of some size for the length of a test."""
    made = []

    def mount(size, name="mounted"):
        folder = tmp_path / name
        folder.mkdir()
        if shutil.which("mount") is None:
            pytest.skip("nothing can be mounted here: there is no mount command")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only():
    """Make a mounted file system read-only: permissions do not bind root."""

    def remount(folder):
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        return folder

    return remount


@pytest.fixture
def planted(tmp_path):
    """A run root that is planted run by run, as the gate's corpus plants its own."""
    return Ladder(tmp_path / "planted")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Dataset.json of four training and two validation images, drawn and prepared."""
    folder = tmp_path_factory.mktemp("drawn")
    numbers = ("--images", 4, "--val-images", 2, "--imgsz", 64, "--seed", 5)
    assert call("qat-data", "synth", "--out", folder / "coco", *numbers).code == 0
    assert call("qat-data", "prepare", "--coco-root", folder / "coco", "--out", folder / "prepared").code == 0
    return folder / "prepared" / "dataset.json"


SPEC = """
[run]
run_id = "n/seed0"
trajectory_id = "n/seed0"
seed = 0
[model]
variant = "yolo10n"
checkpoint = "{checkpoint}"
[data]
dataset = "{dataset}"
[training]
epochs = {epochs}
imgsz = 64
batch = 4
lr0 = {lr0}
lrf = 0.1
device = "{device}"
threads = 1
"""


@pytest.fixture
def spec(drawn, tmp_path):
    """Write the specification of a tiny run; keywords replace its values."""

    def write(name="run.toml", **changes):
        values = {"checkpoint": DEMO, "dataset": drawn, "epochs": 2, "lr0": 1e-4, "device": "cpu"} | changes
        path = tmp_path / name
        path.write_text(SPEC.format(**values))
        return path

    return write


STAND_IN = """
import json, os, pathlib, signal, sys, time
args, how = sys.argv[1:], os.environ["STAND_IN"]
if args[0] == "inspect":
    print(json.dumps({"names": ["cat", "dog"], "nc": 2, "sha256": "cd" * 32}))
    sys.exit()
out = pathlib.Path(args[args.index("--out") + 1])
def asked(*_):
    (out / "asked").touch()
    if how != "stubborn":
        sys.exit(143)
signal.signal(signal.SIGTERM, asked)
print("epoch 1/6  mAP50-95 raw 0.1  ema 0.1  1.0 s  about 5 s left", file=sys.stderr, flush=True)
(out / "pid.part").write_text(str(os.getpid()))
(out / "pid.part").rename(out / "pid")  # whole as soon as it is there
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how.isdecimal():
    print("error: made to fail", file=sys.stderr)
    sys.exit(int(how))
for _ in range(1200):  # short naps: a signal just before a long one would be handled after it
    time.sleep(0.05)
"""


@attrs.frozen
class StandIn:
    """A ladder of two seeds on real data whose trainer behaves as it is told."""

    folder: Path
    coco: CocoRoot
    root: Path

    @property
    def flags(self):
        """Of `invoke`."""
        weights = self.folder / "weights.pt"
        flags = ("--profile", "tiny", "--methods", "baseline", "--device", "cpu", "--plain", "--root", self.root)
        return ("ladder.n", *flags, "--coco-root", self.coco.path, "--checkpoint", weights)

    def start(self, how, *more):
        """Begin a ladder as a process of its own."""
        return start("invoke", *self.flags, *more, PYTHONPATH=str(self.folder), STAND_IN=how)

    def run_folder(self, seed=0):
        """Of a training run."""
        return self.root / f"trajectories/yolo10n/shared/seed{seed}"

    def trainer(self, ladder):
        """Process id of the trainer at work for a ladder's process."""
        return int(appears(ladder, self.run_folder() / "pid"))


@pytest.fixture
def stand_in(coco, tmp_path):
    package = tmp_path / "stand_in" / "qat_train"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    (package.parent / "weights.pt").write_bytes(b"weights")
    return StandIn(package.parent, coco, tmp_path / "runs")
