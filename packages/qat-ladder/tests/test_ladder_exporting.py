"""Export of a row and detections with it, with the products replaced by scripts."""

import json

import pytest

import qat_artifacts
from qat_ladder import tasks
from qat_ladder.errors import ConfigError, LadderError
from qat_ladder.exporting import export_folder, parse_confidence, parse_seed, run_export, run_predict
from qat_ladder.layout import Root

EXPORT = """
elif key == "qat-train export":
    out = pathlib.Path(option("--out"))
    out.mkdir(parents=True)
    (out / "model.onnx").write_bytes(b"graph")
    print("proven")
elif key == "qat-train predict":
    print("photo.jpg: 2 objects")
"""


@pytest.fixture
def exporting(products):
    """The products, with the commands of the export."""
    script = products.folder / "product.py"
    script.write_text(script.read_text() + EXPORT)
    return products


@pytest.fixture
def root(tmp_path):
    """A run root with a row of averaged and corrected weights, and one of raw ones."""
    made = Root(tmp_path / "runs")
    for method, averaged, qc in (("ema+qc", True, "../../../t/qc/qc.json"), ("baseline", False, None)):
        body = {"schema": "qat-report/run-summary", "version": "1.0", "created_by": "test"}
        body |= {"method": {"ema": {"enabled": averaged}}, "artifacts": {"run_root": "../../../t", "qc_json": qc}}
        path = made.summary("yolo10n", method, 0) / "run_summary.json"
        qat_artifacts.write_text(path, json.dumps(body))
    return made


def export(root, method="ema+qc", **options):
    return run_export(root, "yolo10n", **({"method": method, "seed": 0, "out": None, "benchmark": False} | options))


def predict(root, images=("photo.jpg",), **options):
    chosen = {"method": "ema+qc", "seed": 0, "images": list(images), "out": None, "confidence": 0.25}
    chosen |= {"against": None} | options
    return run_predict(root, "yolo10n", **chosen)


def test_a_row_is_exported_from_the_run_and_the_correction_that_its_summary_names(exporting, root, capsys):
    assert export(root) == 0
    folder = root.summary("yolo10n", "ema+qc", 0)
    (call,) = exporting.calls()
    assert call == [
        *("qat-train", "export", "--run", f"{folder}/../../../t", "--method", "ema+qc", "--series", "ema"),
        *("--qc", f"{folder}/../../../t/qc/qc.json", "--out", str(folder / "export")),
    ]
    assert capsys.readouterr().out == "proven\n"


def test_raw_weights_another_folder_and_the_benchmark_are_passed_on(exporting, root, tmp_path):
    export(root, "baseline", out=tmp_path / "mine", benchmark=True)
    (call,) = exporting.calls()
    assert call[6:] == ["--series", "raw", "--benchmark", "--out", str(tmp_path / "mine")]


def test_a_row_that_is_not_there_is_refused_and_the_others_are_named(exporting, root):
    with pytest.raises(ConfigError) as caught:
        export(root, seed=3)
    path = root.summary("yolo10n", "ema+qc", 3) / "run_summary.json"
    assert str(caught.value) == (
        f"{path} does not exist: no row 'ema+qc' with seed 3; there are: yolo10n/baseline/seed0, yolo10n/ema-qc/seed0"
    )
    with pytest.raises(ConfigError, match="there are: none"):
        export(Root(root.path / "none"))
    assert exporting.calls() == []


def test_the_products_code_and_text_are_kept(exporting, root):
    exporting.behave({"qat-train export": 7})
    with pytest.raises(LadderError) as caught:
        export(root)
    assert (caught.value.code, str(caught.value)) == (7, "qat-train: made to fail")


def test_detections_need_an_export(exporting, root, capsys):
    with pytest.raises(ConfigError) as caught:
        predict(root)
    model = export_folder(root, "yolo10n", "ema+qc", 0) / "model.onnx"
    assert str(caught.value) == (
        f"{model} does not exist; export the row first: invoke export.n --root {root.path} --method ema+qc --seed 0"
    )
    export(root)
    exporting.calls()
    assert predict(root, ["a.jpg", "b.jpg"], confidence=0.5) == 0
    (call,) = exporting.calls()
    drawn = root.summary("yolo10n", "ema+qc", 0) / "predicted"
    assert call == [
        *("qat-train", "predict", "--model", str(model), "--image", "a.jpg", "--image", "b.jpg"),
        *("--conf", "0.5", "--out", str(drawn)),
    ]
    assert capsys.readouterr().out.endswith("photo.jpg: 2 objects\n")
    predict(root, ["a.jpg"], against=drawn / "start.pt")
    assert exporting.calls()[0][-2:] == ["--against", str(drawn / "start.pt")]


def test_no_image_is_refused(root):
    with pytest.raises(ConfigError) as caught:
        predict(root, [])
    assert str(caught.value) == "--image: at least one file is needed, such as --image photo.jpg"


@pytest.mark.parametrize("text", ["", "-1", "0,1", "one", "1.5"])
def test_a_seed_is_one_integer(text):
    with pytest.raises(ConfigError) as caught:
        parse_seed(text)
    assert str(caught.value) == f"--seed {text!r}: expected one integer from 0"
    assert parse_seed("7") == 7


@pytest.mark.parametrize("text", ["", "-0.1", "1.1", "nan", "high"])
def test_a_confidence_is_a_score(text):
    with pytest.raises(ConfigError) as caught:
        parse_confidence(text)
    assert str(caught.value) == f"--conf {text!r}: expected a score from 0 to 1, such as 0.25"
    assert (parse_confidence("0"), parse_confidence("0.25")) == (0.0, 0.25)


def test_the_tasks_exist_for_every_variant_and_say_how_to_call_them():
    found = tasks.collection()
    for name in ("export", "predict"):
        collection = found.collections[name]
        assert set(collection.task_names) == {"n", "s", "m"}
        for letter in "nsm":
            assert f"Example: invoke {name}.{letter} " in collection[letter].__doc__
