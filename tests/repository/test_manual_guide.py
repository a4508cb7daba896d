"""Every command of the guide is one that the tasks take, stands in both forms, and is dry-run."""

import re
import shlex
from pathlib import Path

import pytest
from invoke import Collection, Config
from invoke.parser import Parser

from qat_ladder import tasks

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "manual-validation.md").read_text(encoding="utf-8")
PIXI = "pixi run -e cu128 "
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
OWN = sorted({line for line in COMMANDS if not line.startswith(PIXI)})


def test_the_guide_holds_every_rung_and_the_gate():
    assert {shlex.split(line)[1] for line in OWN} >= {"doctor", "ladder.n", "ladder.s", "ladder.m", "gate.m"}


def test_every_block_stands_again_as_pixi_calls_it():
    pairs = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))
    assert pairs
    for own, pixi in pairs:
        assert [PIXI + line for line in own.splitlines()] == pixi.splitlines()


def parse(line):
    collection: Collection = tasks.collection()
    return Parser(contexts=collection.to_contexts()).parse_argv(shlex.split(line)[1:])


@pytest.mark.parametrize("line", OWN)
def test_the_tasks_take_every_flag(line):
    (found,) = parse(line)
    assert found.name == shlex.split(line)[1]


def test_a_flag_that_no_task_has_is_found():
    from invoke.exceptions import ParseError

    with pytest.raises(ParseError, match="--no-such-flag"):
        parse("invoke ladder.n --no-such-flag 1")


@pytest.mark.parametrize("line", [line for line in OWN if re.search(r"ladder\.[nsm] |gate\.m", line)])
def test_every_stage_is_dry_run(line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "PROJECT", ROOT)
    (tmp_path / "runs" / "short").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (found,) = parse(line.replace("$COCO_ROOT", str(tmp_path / "coco")))
    flags = {name.replace("-", "_"): argument.value for name, argument in found.args.items()} | {"dry_run": True}
    task = tasks.collection()[found.name]
    with pytest.raises(SystemExit) as ended:
        task.body(Config(), **flags)
    assert ended.value.code == 0, capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_rehearsal_is_pasted():
    rehearsal = TEXT.partition("## Rehearsal on a CPU")[2]
    for command in ("invoke ladder.n", "invoke ladder.s", "invoke gate.m", "invoke ladder.m"):
        assert command in rehearsal
