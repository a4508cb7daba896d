"""The live table on a real pseudo-terminal, and plain lines where there is none."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from qat_ladder import stage
from qat_ladder.campaign import running
from qat_ladder.campaign.file import Block, Campaign, Rows
from qat_ladder.live import LiveTable, short_names

NAME = "yolo10n/shared/seed0"

# A ladder of one training run: the board and the stream of a real stage, and a command that stands for qat-train.
LADDER = f"""
import sys
from pathlib import Path
from qat_ladder import launch
from qat_ladder.live import board
from qat_ladder.tasks.frame import guard
folder = Path(sys.argv[1])
launch.argv = lambda *_: [sys.executable, str(folder / "training.py"), str(folder)]
def body():
    with board({{folder: ("{NAME}", 2)}}, plain="--plain" in sys.argv) as shown:
        shown.move(folder, "training")
        code = launch.stream("qat-train", log=folder / "log.txt", prefix="{NAME}: ", show=shown.show, tick=shown.tick)
        shown.move(folder, "done" if code == 0 else "failed")
    print("the result")
    return code
guard(body)
"""
# Its epochs end when the test says so.
TRAINING = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches it too; the ladder must end it all the same
folder, lines = pathlib.Path(sys.argv[1]), ""
print("references: FP32 0.4000, PTQ 0.1000", file=sys.stderr, flush=True)
for epoch in (1, 2):
    while not (folder / f"go{epoch}").exists():
        time.sleep(0.02)
    events = [{"epoch": 2, "kind": "rollback", "detail": ""}] if epoch == 2 else []
    raw, ema = {"map50_95": 0.3 - 0.1 * epoch}, {"map50_95": 0.1 + 0.02 * epoch}
    lines += json.dumps({"epoch": epoch, "seconds": 30.0, "raw": raw, "ema": ema, "events": events}) + "\\n"
    (folder / "metrics.jsonl").write_text(lines)
    print(f"epoch {epoch}/2  mAP50-95 raw 0.1  ema 0.1  30.0 s  about 30 s left", file=sys.stderr, flush=True)
"""


def hear_interrupts():
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts: these tests too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process whose stderr is a terminal of some size; its stdout is a pipe."""

    def __init__(self, folder, *arguments, columns=110, **environment):
        (folder / "training.py").write_text(TRAINING)
        self.master, slave = pty.openpty()
        self.seen = b""
        self.resize(columns)
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LADDER, str(folder), *arguments],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            preexec_fn=hear_interrupts,  # noqa: PLW1509  # the tests run no thread
            env=env | {"TERM": "xterm-256color"} | environment,
        )
        os.close(slave)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def until(self, pattern, *, since=0):
        """Everything written from `since` on, as soon as it holds the pattern."""
        deadline = time.monotonic() + 120
        while not re.search(pattern, self.text()[since:]):
            assert time.monotonic() < deadline, self.text()
            if select.select([self.master], [], [], 1.0)[0]:
                self.seen += os.read(self.master, 1 << 16)
        return self.text()[since:]

    def text(self):
        """What was written, without colours; moves of the cursor stay."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.seen.decode(errors="replace"))

    def end(self):
        """Exit code, stdout, and everything that the terminal got."""
        while True:
            with contextlib.suppress(OSError):  # how Linux says that the other side is closed
                if chunk := os.read(self.master, 1 << 16):
                    self.seen += chunk
                    continue
            break
        stdout = self.process.communicate(timeout=60)[0]
        return self.process.returncode, stdout.decode(), self.text()


@pytest.fixture
def terminal(tmp_path):
    made = []

    def start(*arguments, **options):
        made.append(Terminal(tmp_path, *arguments, **options))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.communicate()
        os.close(one.master)


def last_row(text):
    return [line for line in text.splitlines() if NAME in line][-1].split()


def test_table_is_redrawn_in_place_and_stays(terminal, tmp_path):
    screen = terminal()
    screen.until(r"training +0/2")
    (tmp_path / "go1").touch()
    first = screen.until(r"training +1/2")
    assert last_row(first)[:8] == [NAME, "training", "1/2", "0.2000", "0.1200", "0.2000", "raw", "@1"]
    assert re.search(r"\d+ s", " ".join(last_row(first)[8:]))  # time left
    (tmp_path / "go2").touch()
    code, stdout, text = screen.end()
    assert (code, stdout) == (0, "the result\n")
    row = [NAME, "done", "2/2", "0.1000", "0.1400", "0.2000", "raw", "@1", "1,", "last", "rollback"]
    assert last_row(text) == row
    assert "\x1b[1A" in text  # the cursor goes up over the frame before
    assert "references: FP32 0.4000, PTQ 0.1000" in text
    assert "epoch 1/2" not in text  # told by the table
    assert "epoch 1/2" in (tmp_path / "log.txt").read_text()


def test_table_takes_on_the_size_of_its_terminal(terminal):
    screen = terminal(columns=110)
    seen = len(screen.until(r"training +0/2"))
    screen.resize(60)
    wide = screen.until(r"…", since=seen)  # what no longer fits is cut
    frame = screen.until(r"0/2(.|\n)*0/2", since=seen + len(wide))  # a whole frame behind that one
    rows = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip("\r") for line in frame.splitlines()[1:-1]]
    assert rows
    assert max(map(len, rows)) <= 60


def test_interrupt_ends_child_and_table_cleanly(terminal, tmp_path):
    screen = terminal()
    screen.until(r"training +0/2")
    (tmp_path / "go1").touch()
    screen.until(r"training +1/2")
    screen.process.send_signal(signal.SIGINT)
    code, stdout, text = screen.end()
    assert (code, stdout) == (130, "")
    assert last_row(text)[:3] == [NAME, "interrupted", "1/2"]
    assert text.rstrip("\r\n ").endswith("\x1b[?25h") or "\x1b[?25h" in text.rpartition("interrupted")[2]  # cursor back
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["yolo10n/shared/seed0", "yolo10n/shared/seed1"], ["seed0", "seed1"]),
        (["yolo10n/shared/seed0", "yolo10n/learned-true/seed0"], ["shared/seed0", "learned-true/seed0"]),
        (["yolo10n/shared/seed0"], ["seed0"]),
        (["a", "a/b"], ["a", "a/b"]),
        ([], []),
    ],
)
def test_names_on_a_narrow_terminal_lack_what_all_have_in_common(names, short):
    assert list(short_names(names).values()) == short


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--plain"], {}), ([], {"TERM": "dumb"}), ([], {"TTY_INTERACTIVE": "0"})],
    ids=["--plain", "TERM=dumb", "TTY_INTERACTIVE=0"],
)
def test_lines_instead_of_a_table_on_a_terminal(terminal, tmp_path, arguments, environment):
    (tmp_path / "go1").touch()
    (tmp_path / "go2").touch()
    code, _, text = terminal(*arguments, **environment).end()
    assert code == 0
    assert text.splitlines() == [
        f"{NAME}: references: FP32 0.4000, PTQ 0.1000",
        f"{NAME}: epoch 1/2  mAP50-95 raw 0.1  ema 0.1  30.0 s  about 30 s left",
        f"{NAME}: epoch 2/2  mAP50-95 raw 0.1  ema 0.1  30.0 s  about 30 s left",
    ]


def test_pipe_gets_lines_even_where_colour_is_forced(tmp_path):
    (tmp_path / "training.py").write_text(TRAINING)
    (tmp_path / "go1").touch()
    (tmp_path / "go2").touch()
    done = subprocess.run(
        [sys.executable, "-c", LADDER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"FORCE_COLOR": "1", "TERM": "xterm"},
    )
    assert [line.partition("  ")[0] for line in done.stderr.splitlines()] == [
        f"{NAME}: references: FP32 0.4000, PTQ 0.1000",
        f"{NAME}: epoch 1/2",
        f"{NAME}: epoch 2/2",
    ]
    assert (done.stdout, "\x1b" in done.stderr) == ("the result\n", False)


def drawn(folders, *, height, working):
    """The lines of the frame while the run at place `working` trains, and the last frame."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, no_color=True, width=120, height=height)
    with LiveTable(console, {folder: (f"run {i:02d}", 3) for i, folder in enumerate(folders)}) as table:
        out.truncate(0)
        table.move(folders[working], "training")
        frame = plain(out)
        out.truncate(0)
    return [re.findall(r"run \d\d", text) for text in (frame, plain(out))], frame


def plain(out):
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def test_more_runs_than_lines_show_those_around_the_one_at_work(tmp_path):
    (frame, last), text = drawn([tmp_path / str(i) for i in range(30)], height=15, working=20)
    assert len(frame) == 10
    assert "run 20" in frame
    assert re.search(r"15 above, 5 below", text)
    assert last == [f"run {i:02d}" for i in range(30)]


def test_run_without_a_number_shows_a_dash_and_one_that_starts_over_is_read_anew(tmp_path):
    file = tmp_path / "metrics.jsonl"
    line = {"epoch": 1, "seconds": 1.0, "raw": None, "ema": {"map50_95": 0.25}, "events": []}
    file.write_text(json.dumps(line) + "\n" + json.dumps(line | {"epoch": 2, "ema": {"map50_95": 0.2}}) + "\n")
    _, text = drawn([tmp_path], height=15, working=0)
    assert re.search(r"run 00 +training +2/3 +- +0\.2000 +0\.2500 ema @1", text)
    out = io.StringIO()
    with LiveTable(Console(file=out, force_terminal=True, width=120), {tmp_path: ("run", 3)}) as table:
        file.write_text(json.dumps(line) + "\n")
        out.truncate(0)
        table.show("run: epoch 1/3  mAP50-95 raw -")
        assert "1/3" in plain(out)


@pytest.mark.parametrize("text", ["{}\n", "{\n", '{"seconds": 1.0, "raw": {"map50_95": "high"}}\n', "\xff\n"])
def test_lines_that_cannot_be_read_are_not_shown_and_stop_nothing(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("latin-1"))
    _, shown = drawn([tmp_path], height=15, working=0)
    assert re.search(r"run 00 +training +0/3", shown)


def test_brackets_are_no_markup(tmp_path):
    event = {"epoch": 1, "kind": "[/odd]", "detail": ""}
    line = {"epoch": 1, "seconds": 1.0, "raw": None, "ema": None, "events": [event]}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    out = io.StringIO()
    with LiveTable(Console(file=out, force_terminal=True, width=120), {tmp_path: ("[bold]run", 3)}):
        pass
    assert "[bold]run" in plain(out)
    assert "1, last [/odd]" in plain(out)


@pytest.fixture
def tables(monkeypatch):
    """Lets stages and campaigns draw their tables into a text, as if it were a terminal."""
    out = io.StringIO()

    def board(runs, *, plain):
        assert not plain
        return LiveTable(Console(file=out, force_terminal=True, width=140), runs)

    monkeypatch.setattr(stage, "board", board)
    monkeypatch.setattr(running, "board", board)
    return lambda: [line.split()[:3] for line in plain(out).splitlines() if re.search(r"/seed\d +[a-z]+ +\d+/", line)]


def test_stage_tells_its_table_what_becomes_of_every_run(products, request_for, tables):
    products.behave({"seed1 --resume": 6})
    assert stage.run_stage(request_for(methods=["baseline"])) == 6
    shown = tables()
    assert ["yolo10n/shared/seed0", "training", "0/10"] in shown
    assert ["yolo10n/shared/seed0", "finishing", "0/10"] in shown
    assert shown[-2:] == [["yolo10n/shared/seed0", "done", "0/10"], ["yolo10n/shared/seed1", "failed", "0/10"]]


def test_campaign_has_one_table_over_all_its_blocks(products, project, tmp_path, tables):
    rows = (Rows(methods=("baseline",), seeds=(0,), tier=1),)
    products.standing([{"sign": "metric-fall", "epochs": 3, "text": "0.1"}])
    blocks = tuple(Block(name=name, variant="yolo10n", rows=rows) for name in ("one", "two"))
    campaign = Campaign(name="c", command=(), budget_hours=None, blocks=blocks)
    assert running.run_campaign(campaign, project=project, root=tmp_path / "c", stop_doomed=True) == 6
    shown = tables()
    assert [row[:2] for row in shown[:2]] == [["one", "yolo10n/shared/seed0"], ["two", "yolo10n/shared/seed0"]]
    assert [row[2] for row in shown[:2]] == ["waiting", "waiting"]
    assert [row[2] for row in shown[-2:]] == ["stopped", "stopped"]
