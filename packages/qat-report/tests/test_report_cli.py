import json
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"
CSV = "epoch,train/box_loss,metrics/mAP50-95(B),lr/pg0\n" + "".join(
    f"{epoch},1.5,{value},0.01\n" for epoch, value in enumerate([0.2, 0.3, 0.4, 0.4, 0.4, 0.1], start=1)
)


def qat_report(*arguments):
    command = [sys.executable, "-c", "from qat_report.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def test_classify_prints_the_contracts_keys(results):
    done = qat_report("classify", results, "--fp32", "0.44", "--ptq", "0.07", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "class": "collapsed",
        "collapsed": True,
        "best_value": 0.4,
        "best_epoch": 3,
        "final_value": 0.1,
        "evaluations": 6,
        "findings": ["collapsed"],
        "not_checked": ["frozen-metric: values are rounded and the evaluated weights are unknown"],
    }


def test_classify_says_why_for_people(results):
    done = qat_report("classify", results)
    assert "class        collapsed\n" in done.stdout
    assert "collapsed: final 0.1000 is below 0.5 x best 0.4000\n" in done.stdout
    assert "not checked: no-signal: no FP32 reference above 0 is known\n" in done.stdout


def test_series_prints_values_on_stdout_and_notes_on_stderr(results):
    results.write_text(CSV + "7,1.5,nan,0.01\n8,1.", encoding="utf-8")
    done = qat_report("series", results)
    assert done.stdout.splitlines()[-2:] == ["6\t0.1", "7\tmissing"]
    assert done.stderr == "line 9: torn last line, ignored\nepoch 7: no finite value\n"


def test_series_prints_another_column_as_json(results):
    found = json.loads(qat_report("series", results, "--column", "train/box_loss", "--json").stdout)
    assert (found["column"], found["points"][0]) == ("train/box_loss", {"epoch": 1, "value": 1.5})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("epoch,time\n1,2\n", ":1: no column 'metrics/mAP50-95(B)'; the columns are epoch, time"),
        (
            "epoch,metrics/mAP50-95(B)\n1,41.0\n",
            ", column 'metrics/mAP50-95(B)', epoch 1: value 41.0 is outside [0, 1]",
        ),
    ],
)
def test_bad_file_exits_3_with_one_line(results, content, text):
    results.write_text(content, encoding="utf-8")
    done = qat_report("classify", results)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"error: {results}{text}\n")


def test_reference_outside_the_unit_interval_exits_2(results):
    assert qat_report("classify", results, "--fp32", "43.6").returncode == 2


def test_summarize_then_compare_writes_every_file(tmp_path):
    for method, extra in (("baseline", ()), ("ema", ()), ("ema+qc", ("--qc", FIXTURES / "qc"))):
        done = qat_report(
            "summarize", "--run", FIXTURES / "run", "--method", method, *extra, "--out", tmp_path / "root" / method
        )
        assert (done.returncode, done.stdout.split(",")[0]) == (0, f"n/seed0/{method}: stable")
    done = qat_report("compare", tmp_path / "root", "--out", tmp_path / "root", "--json")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "root/comparison.json").read_text(encoding="utf-8")
    assert len(json.loads(done.stdout)["rows"]) == 3
    assert (tmp_path / "root/index.html").is_file()


def test_summarize_prints_the_artifact_as_json(tmp_path):
    done = qat_report("summarize", "--run", FIXTURES / "run", "--method", "ema", "--out", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["schema"] == "qat-report/run-summary"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("summarize", "--run", "nowhere", "--method", "ema", "--out", "out"), 3),
        (("summarize", "--run", FIXTURES / "run", "--method", "ema", "--series", "raw", "--out", "out"), 2),
        (("summarize", "--run", FIXTURES / "run", "--method", "ema+qc", "--out", "out"), 3),
        (("compare", "nowhere", "--out", "out"), 3),
        (("compare", "--out", "out"), 2),
        (("frobnicate",), 2),
    ],
)
def test_exit_code_tells_usage_from_input(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = qat_report(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


COMMANDS = [
    "series",
    "classify",
    "summarize",
    "refuse",
    "warn",
    "compare",
    "verify",
    "export tensorboard",
    "export mlflow",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    done = qat_report(*command.split(), "--help")
    assert f"Example: qat-report {command} " in " ".join(done.stdout.split())


def test_help_and_import_load_no_heavy_library():
    probe = (
        "import sys, qat_report, qat_report.cli; "
        "print(sorted({'numpy', 'matplotlib', 'torch', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.5"])
def test_a_reference_outside_the_unit_interval_is_refused(results, value):
    done = qat_report("classify", results, f"--fp32={value}")
    assert done.returncode == 2
    assert f"{value} is not in the range 0.0<=x<=1.0." in done.stderr
