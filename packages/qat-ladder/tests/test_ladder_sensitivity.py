"""The scan of layer sensitivity with the products replaced by scripts."""

import shlex

import pytest
import tomli

from qat_ladder import tasks
from qat_ladder.errors import ConfigError, LadderError
from qat_ladder.sensitivity import command, parse_budget, run_sensitivity

SCAN = """
elif key == "qat-train sensitivity":
    out = pathlib.Path(option("--out"))
    print("layer 1/9  model.1.conv  mAP50-95 0.4  damage +0.1  about 3 s left", file=sys.stderr)
    (out / "summary.md").write_text("# Sensitivity")
    (out / "policy.toml").write_text("")
"""


@pytest.fixture
def scanned(products):
    """The products, with the command of the scan."""
    script = products.folder / "product.py"
    script.write_text(script.read_text() + SCAN)
    return products


def test_data_and_checkpoint_as_in_a_ladder_then_the_scan(scanned, request_for, tmp_path, capsys):
    assert run_sensitivity(request_for(variant="yolo10n", device="cpu"), "4.5") == 0
    calls = scanned.calls()
    assert [" ".join(c[:2]) for c in calls] == [
        "qat-data synth",
        "qat-data prepare",
        "qat-train inspect",
        "qat-train sensitivity",
    ]
    out = tmp_path / "runs" / "yolo10n"
    assert calls[-1][2:] == ["--spec", str(out / "run.toml"), "--out", str(out), "--budget", "4.5"]
    spec = tomli.loads((out / "run.toml").read_text())
    assert spec["run"]["run_id"] == "sensitivity/yolo10n"
    assert spec["training"]["device"] == "cpu"
    assert spec["quantization"]["policy"] == "all"  # the demo's
    assert spec["references"]["directory"] == str(tmp_path / "runs" / "references")
    shown = capsys.readouterr()
    assert "# Sensitivity" in shown.out
    last = shlex.split(shown.out.splitlines()[-1])
    assert last[:2] == ["invoke", "ladder.n"]
    assert f"quantization.policy={out / 'policy.toml'}" in last
    assert f"log in {out / 'log.txt'}" in shown.err
    assert "layer 1/9" in (out / "log.txt").read_text()


def test_no_budget_is_left_to_the_product_and_a_second_call_continues(scanned, request_for):
    for _ in range(2):
        run_sensitivity(request_for())
        assert "--budget" not in scanned.calls()[-1]


def test_failure_keeps_the_products_code_and_text(scanned, request_for, tmp_path):
    scanned.behave({"qat-train sensitivity": 2})
    with pytest.raises(LadderError) as caught:
        run_sensitivity(request_for(), "2.5")
    assert caught.value.code == 2
    assert str(caught.value) == f"qat-train: made to fail ({tmp_path / 'runs' / 'yolo10n' / 'log.txt'})"


@pytest.mark.parametrize("text", ["1", "9", "four", "nan", "inf"])
def test_a_wrong_budget_is_refused_before_anything(scanned, request_for, text):
    with pytest.raises(ConfigError) as caught:
        run_sensitivity(request_for(), text)
    assert str(caught.value) == (
        f"--budget {text!r}: expected average bits per quantized weight from 2 to 8, such as 4.5"
    )
    assert scanned.calls() == []


def test_budget_is_a_number_or_nothing():
    assert (parse_budget(""), parse_budget("4.5")) == (None, 4.5)


def test_the_ladder_that_uses_the_policy_has_the_scans_flags_but_its_own_root(request_for, tmp_path):
    request = request_for(
        variant="yolo10s",
        profile="short",
        coco_root="my data",
        settings=("training.imgsz=192", "quantization.policy=all"),
        root=tmp_path / "runs" / "sensitivity",
    )
    assert shlex.split(command(request, tmp_path / "policy.toml")) == [
        *("invoke", "ladder.s", "--profile", "short", "--coco-root", "my data", "--set", "training.imgsz=192"),
        *("--set", f"quantization.policy={tmp_path / 'policy.toml'}", "--root", str(tmp_path / "runs/mixed-yolo10s")),
    ]


def test_three_tasks_with_their_flags():
    found = tasks.collection().collections["sensitivity"]
    assert set(found.tasks) == {"n", "s", "m"}
    names = {name for argument in found.tasks["n"].get_arguments() for name in argument.names}
    wanted = {"profile", "coco_root", "checkpoint", "device", "config", "set", "root", "budget"}
    assert wanted <= {n.replace("-", "_") for n in names}
