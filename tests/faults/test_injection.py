"""Names from files stay text in HTML, Markdown, pictures and on a terminal; no secret of the environment is kept."""

import copy
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import qat_artifacts
from qat_data.prepare import Request, prepare
from qat_data.yolo import read_yolo
from qat_gate.cli import FAILURES
from qat_gate.cli import cli as gate
from qat_ladder.campaign.evidence import gather
from qat_ladder.campaign.file import Block, Campaign, Rows
from qat_ladder.campaign.page import render
from qat_ladder.launch import say
from qat_ladder.live import LiveTable
from qat_report import compare, summarize

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "packages/qat-report/tests"

NAMES = (
    "<script>alert(1)</script>",
    "| x |",
    "`a` ](javascript:alert(1)) [b](javascript:alert(2))",
    "one\n# two\n| three |",
    '</svg></style><img src=x onerror="alert(1)">',
    "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "![x](http://example.invalid/x.png) &lt;b&gt; <http://example.invalid>",
    "{{ 7 * 7 }} {% raw %} $x$ \u202egnp.exe",
    "[bold red]x[/] [link=http://example.invalid]y[/link]",
    "a' \" onclick=alert(1) -- --> ]]>",
)


def report_fixtures():
    spec = importlib.util.spec_from_file_location("report_fixtures", REPORT / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Elements(HTMLParser):
    """What a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def quiet(text):
    """Whether a terminal would obey nothing in a text."""
    return not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def assert_only_text(page):
    """A Markdown page as GitHub reads it: no HTML, no picture but ours, no link that leaves the folder."""
    parser = pytest.importorskip("markdown_it", reason="needs markdown-it-py").MarkdownIt("commonmark").enable("table")
    tokens = [inner for token in parser.parse(page) for inner in [token, *(token.children or ())]]
    assert {token.type for token in tokens} & {"html_inline", "html_block", "image", "fence"} == set()
    links = [token.attrs["href"] for token in tokens if token.type == "link_open"]
    assert [link for link in links if ":" in link or link.startswith("/")] == []
    widths = {}
    for line in re.findall(r"^\|.*$", page, flags=re.MULTILINE):
        assert line.startswith("| ")
        assert line.endswith(" |")
        widths.setdefault(len(re.findall(r"(?<!\\)\|", line)), line)
    assert quiet(page)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison all of whose names are hostile, and the summaries under it."""
    fixtures, root = report_fixtures(), tmp_path_factory.mktemp("hostile")
    rows = copy.deepcopy(fixtures.LADDER["good"])
    for place, row in enumerate(rows):
        name = NAMES[place % len(NAMES)]
        changes = {
            "run_id": f"{place}{name}",
            "trajectory_id": f"{place % 4}{name}",
            "method.variant": f"{row['method']} {name}",
            "dataset.coco_root": f"/data/{name}",
            "dataset.classes": [name, "disc"] if "classes" in fixtures.BASE["dataset"] else None,
            "git.branch": name,
            "versions": {"qat-train": "0.1.0", name: name},
            "artifacts.results_csv": f"x {name}".replace("\n", " "),
            "error": name,
            "stability.reasons": [name],
        }
        changes = {key: value for key, value in changes.items() if value is not None}
        fixtures.write_summary(root, row | {"set": changes})
    compare([root], out=root)
    return root


@pytest.mark.fault(
    "B2-48", "hostile names are text in the page of a comparison, which runs and loads nothing", how="real"
)
def test_hostile_names_are_text_in_html(compared):
    page = (compared / "index.html").read_text(encoding="utf-8")
    found = Elements(page)
    assert not {"script", "img", "iframe", "object", "embed", "base", "form", "link"} & set(found.tags)
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    leads = [value for name, value in found.attributes if name in ("href", "src", "xlink:href")]
    assert [value for value in leads if re.match(r"\s*(javascript|data|https?):", value, re.IGNORECASE)] == []
    assert quiet(page)
    text = " ".join(" ".join(found.text).split())
    for name in NAMES[:5]:
        assert " ".join(name.split()) in text, name
    assert "{{ 7 * 7 }} {% raw %}" in text  # no template of theirs is filled in


@pytest.mark.fault("B2-48", "hostile names are text in the Markdown of a comparison", how="real")
def test_hostile_names_are_text_in_markdown(compared):
    assert_only_text((compared / "summary.md").read_text(encoding="utf-8"))


@pytest.mark.fault("B2-48", "hostile names are text in the Markdown of a single run", how="real")
@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text_in_the_page_of_a_run(tmp_path, name):
    shutil.copytree(REPORT / "fixtures/run", tmp_path / "run")
    path = tmp_path / "run/run.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["run_id"] = document["git"]["branch"] = document["dataset"]["coco_root"] = name
    document["versions"][name] = name
    path.write_text(json.dumps(document), encoding="utf-8")
    summarize(tmp_path / "run", method="ema", out=tmp_path / "out")
    assert_only_text((tmp_path / "out/summary.md").read_text(encoding="utf-8"))


@pytest.mark.fault("B2-48", "hostile titles and rows are text in campaign.md", how="real")
@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text_in_a_campaign(tmp_path, name):
    rows = Rows(methods=("baseline", name), seeds=(0, 1))
    block = Block(
        name="b", title=name, variant="yolo10n", coco_root=name, checkpoint=name, profile="full", rows=(rows,)
    )
    campaign = Campaign(name="c", command=("--file", name), budget_hours=None, blocks=(block,))
    assert_only_text(render(campaign, gather(tmp_path, (block,)), tmp_path))


@pytest.mark.fault(
    "extra-terminal", "a gate's reasons and every error write nothing on a terminal but text", how="real"
)
def test_a_terminal_is_not_written_to_by_names(tmp_path, capsys):
    fixtures = report_fixtures()
    for row in copy.deepcopy(fixtures.LADDER["good"]):
        names = {"run_id": f"{row['method']}/{NAMES[5]}", "trajectory_id": f"{row['seed']}{NAMES[5]}"}
        fixtures.write_summary(tmp_path / "root", row | {"set": names})
    words = [
        "check",
        "--policy",
        str(ROOT / "configs/gate.toml"),
        "--out",
        str(tmp_path / "gate.json"),
        str(tmp_path / "root"),
    ]
    code = qat_artifacts.run_command(lambda: gate.main(words, standalone_mode=False), FAILURES)
    found = capsys.readouterr()
    assert code in (3, 4)
    assert "owned" in found.out + found.err
    assert quiet(found.out)
    assert quiet(found.err)

    def fail():
        raise ValueError(f"{NAMES[5]}.json: broken")

    assert qat_artifacts.run_command(fail, {ValueError: qat_artifacts.Exit.INPUT}) == 3
    assert capsys.readouterr().err == "error: \ufffd[2J\ufffd]0;owned\ufffd\ufffd31m.json: broken\n"
    say(f"\x1b[34mclasses\x1b[0m {NAMES[5]}")
    assert capsys.readouterr().err == "classes \ufffd[2J\ufffd]0;owned\ufffd\ufffd31m\n"


@pytest.mark.fault("extra-terminal", "names in the live table are text, neither markup nor control codes", how="real")
def test_names_in_the_live_table_are_text(tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=400, height=60, color_system=None)
    with LiveTable(console, {tmp_path / str(n): (name, 3) for n, name in enumerate(NAMES)}):
        pass
    text = screen.getvalue()
    assert "[bold red]x[/] [link=http://example.invalid]y[/link]" in text
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "\x9b" not in text


@pytest.mark.fault("extra-captions", "class names of any kind are drawn into pictures as they are", how="real")
def test_captions_of_pictures_take_any_name():
    from qat_train.export.drawing import Half, draw_row, png
    from qat_train.export.matching import FoundObject

    for name in (*NAMES, "", "\0", "x" * 3000):
        kinds = {field.name for field in attrs.fields(FoundObject)}
        made = {"box": (4.0, 4.0, 30.0, 30.0), "score": 0.5, "name": name, "label": 0, "index": 0, "class_index": 0}
        found = FoundObject(**{key: value for key, value in made.items() if key in kinds})
        row = draw_row(
            np.zeros((40, 40, 3), np.uint8), [Half(title=name[:200], objects=[found])], [name], width=80, height=80
        )
        assert Image.open(io.BytesIO(png(row))).size == row.size


# Secrets --------------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-f7a1c09e"
VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "HF_TOKEN",
    "WANDB_API_KEY",
    "ULTRALYTICS_API_KEY",
    "PIP_INDEX_URL",
    "MY_PASSWORD",
)


def written(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def images(tmp_path):
    for split in ("train", "val"):
        for n in range(4):
            for kind in ("images", "labels"):
                (tmp_path / "data" / kind / split).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (60 * n, 50, len(split))).save(tmp_path / f"data/images/{split}/{n}.jpg")
            (tmp_path / f"data/labels/{split}/{n}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data/my.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [disc, square]\n")
    return tmp_path / "data/my.yaml"


@pytest.mark.fault("extra-secrets", "no variable of the environment ends in an artifact", how="real")
def test_no_secret_of_the_environment_is_written(tmp_path, images, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    fixtures = report_fixtures()
    prepare(read_yolo(images), tmp_path / "out/data", Request())
    summarize(shutil.copytree(REPORT / "fixtures/run", tmp_path / "run"), method="ema", out=tmp_path / "out/row")
    for row in fixtures.LADDER["good"][:2]:
        fixtures.write_summary(tmp_path / "out/root", row)
    compare([tmp_path / "out/root"], out=tmp_path / "out/root")
    words = ["check", "--policy", str(ROOT / "configs/gate.toml"), "--out", str(tmp_path / "out/gate.json")]
    qat_artifacts.run_command(lambda: gate.main([*words, str(tmp_path / "out/root")], standalone_mode=False), FAILURES)
    found = written(tmp_path / "out")
    assert {"dataset.json", "run_summary.json", "index.html", "gate.json"} <= {path.name for path in found}
    assert [path for path, content in found.items() if SECRET.encode() in content] == []


GUARD = """
import os, sys
def heard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system"):
        with open(os.environ["HEARD"], "a") as log:
            log.write(f"{event} {arguments[:2]!r}\\n")
        if event.startswith("socket."):
            raise OSError("no network in this test")
sys.addaudithook(heard)
"""


@pytest.mark.slow
@pytest.mark.fault("extra-offline", "a whole training run asks for no network and installs nothing", how="real")
@pytest.mark.fault("extra-secrets", "no variable of the environment ends in what a training run writes", how="real")
def test_a_training_run_asks_nobody_and_tells_nobody(tmp_path, images):
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    prepare(read_yolo(images), tmp_path / "prepared", Request())
    (tmp_path / "run.toml").write_text(
        '[run]\nrun_id = "a"\ntrajectory_id = "a"\nseed = 0\n[model]\nvariant = "yolo10n"\n'
        'checkpoint = "scratch:yolov10n"\n[data]\ndataset = "prepared"\n[quantization]\nbits = 32\n'
        '[training]\nepochs = 1\nimgsz = 64\nbatch = 4\nlr0 = 0.001\nlrf = 0.1\ndevice = "cpu"\nthreads = 1\n'
    )
    secrets = dict.fromkeys(VARIABLES, SECRET)
    places = {
        "HEARD": str(tmp_path / "heard"),
        "PYTHONPATH": str(tmp_path / "guard"),
        "YOLO_CONFIG_DIR": str(tmp_path / "yolo"),
    }
    words = ["pretrain", "--spec", tmp_path / "run.toml", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "qat_train", *words], env=os.environ | secrets | places, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    heard = (tmp_path / "heard").read_text().splitlines()
    assert [line for line in heard if line.startswith("socket.")] == []
    assert [
        line for line in heard if not re.search(r"'(git|uname|/sbin/ldconfig|ldconfig|lsb_release|lscpu)'", line)
    ] == []
    found = written(tmp_path / "out") | written(tmp_path / "yolo")
    assert any(path.name == "model.pt" for path in found)
    assert [path for path, content in found.items() if SECRET.encode() in content] == []
    assert SECRET.encode() not in done.stdout + done.stderr
