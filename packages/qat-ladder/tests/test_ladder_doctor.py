"""What the doctor says of packages that a ladder needs, and of those that it can do without."""

import importlib.metadata
import json

import pytest

from qat_ladder import doctor
from qat_ladder.doctor import examine, report


@pytest.fixture
def installed(monkeypatch, request_for, tmp_path):
    """Findings where every package is installed but those that are named."""

    def findings(*missing):
        def version(name):
            if name in missing:
                raise importlib.metadata.PackageNotFoundError(name)
            return "1.0"

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(doctor, "_TORCH", "print('[]')")  # torch itself takes seconds to import
        return examine(request_for().resolve("baseline").config, tmp_path)

    return findings


def test_an_export_needs_packages_that_a_ladder_does_not(installed, capsys):
    found = installed("onnxruntime")
    export = next(f for f in found if f.name == "export")
    assert (export.ok, export.needed, export.found) == (False, False, "onnxruntime missing")
    assert report(found, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("without export           onnxruntime missing")
    assert lines[place + 1].strip() == (
        "invoke export.* and predict.* need it: pip install -r requirements.txt, or pip install 'qat-train[export]'"
    )


def test_with_them_an_export_can_run(installed, capsys):
    assert report(installed(), as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    (export,) = [f for f in found["findings"] if f["name"] == "export"]
    assert (found["ok"], export["ok"], export["found"]) == (True, True, "onnx 1.0, onnxruntime 1.0")


def test_a_package_that_a_ladder_needs_fails_the_machine(installed, capsys):
    assert report(installed("nvidia-modelopt"), as_json=True) == 7
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], [f["name"] for f in found["findings"] if not f["ok"]]) == (False, ["nvidia-modelopt"])


def test_weights_that_the_ladder_makes_itself_are_not_missing(request_for, tmp_path):
    def weights(**flags):
        asked = request_for(variant="yolo10s", **flags)
        found = examine(asked.resolve("baseline").config, tmp_path, made=asked.demo_pretrained().absolute())
        return next(f for f in found if f.name == "weights")

    found = weights()
    assert (found.ok, found.needed) == (False, False)
    assert found.remedy == "the ladder makes it first, from drawn data (`invoke pretrain.*`)"
    found = weights(checkpoint=str(tmp_path / "none.pt"))
    assert (found.ok, found.needed) == (False, True), "a file that was named is another thing"
