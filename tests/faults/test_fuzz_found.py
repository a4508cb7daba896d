"""What fuzzing found, each as the smallest file that showed it: then an unnamed error, now exit code 2 or 3."""

import json

import pytest

import qat_artifacts
from qat_data.annotations import check_annotations, decode_annotations
from qat_data.check import check_prepared
from qat_data.errors import DataError
from qat_data.records import Annotations, File
from qat_data.yolo import read_yolo
from qat_gate.errors import PolicyError
from qat_gate.policy import read_policy
from qat_ladder.campaign.file import read_file
from qat_ladder.compose import Layer, compose, parse_setting, read_layer
from qat_ladder.errors import ConfigError
from qat_ladder.flags import Request
from qat_report.views import RunFiles
from qat_train.errors import InputError, SpecError
from qat_train.metrics import read_metrics
from qat_train.policy import load_policy
from qat_train.run import Files
from qat_train.spec import read_spec

pytestmark = pytest.mark.fault("extra-fuzz", "a file that fuzzing found is refused by name", how="real")

DEEP, LONG = "[" * 100_000, "9" * 5000  # Python reads neither: nested too deeply, too many digits


@pytest.mark.parametrize("value", [DEEP, LONG, "[" * 100_000 + "]" * 100_000], ids=["deep", "long", "deep and closed"])
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (read_spec, SpecError),
        (lambda path: load_policy(path.name, folder=path.parent), SpecError),
        (read_policy, PolicyError),
        (lambda path: read_file(path, path.parent), ConfigError),
        (lambda path: read_layer(path, "given"), ConfigError),
    ],
    ids=["specification", "policy of layers", "policy of a gate", "campaign", "configuration"],
)
def test_toml_that_python_cannot_hold_is_refused_with_its_file(tmp_path, read, error, value):
    path = tmp_path / "hostile.toml"
    path.write_text(f"rule = {value}\n")
    with pytest.raises(error, match=r"hostile\.toml: "):
        read(path)


@pytest.mark.parametrize("value", [DEEP, LONG], ids=["deep", "long"])
def test_a_setting_that_python_cannot_hold_is_a_bare_word(value):
    assert parse_setting(f"training.epochs={value}").content == {"training": {"epochs": value}}


@pytest.mark.parametrize("value", ["null", float("nan")])  # nan is not even itself
def test_a_key_of_a_method_outside_a_section_is_refused(value):
    layer = Layer(kind="method", origin="ema-qc.toml", content={"qc": value})
    with pytest.raises(ConfigError, match=r"ema-qc\.toml: qc: keys belong into a section"):
        compose([layer])


@pytest.mark.parametrize("content", ["profiles = 3", "[profiles]\ntiny = 3"])
def test_profiles_of_a_variant_that_are_no_tables_are_refused(tmp_path, content):
    (tmp_path / "configs/variants").mkdir(parents=True)
    (tmp_path / "configs/variants/yolo10n.toml").write_text(content)
    asked = {"variant": "yolo10n", "seeds": [0], "methods": ["ema"], "profile": "tiny"}
    request = Request(project=tmp_path, root=tmp_path / "root", **asked)
    with pytest.raises(
        ConfigError, match=r"yolo10n\.toml: profiles: keys belong into a section such as \[profiles\.tiny"
    ):
        request.resolve("ema")


@pytest.mark.parametrize("line", ["{", "[" * 100_000, LONG, "NaN", '{"epoch": 1, "epoch": 1}'])
def test_a_line_of_metrics_that_is_no_json_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: not valid JSON: "):
        read_metrics(tmp_path)


def test_metrics_that_are_missing_or_in_another_encoding_are_named(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.jsonl: No such file"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}", encoding="utf-16")
    with pytest.raises(InputError, match=r"metrics\.jsonl: 'utf-8' codec"):
        read_metrics(tmp_path)


def test_an_area_that_no_double_holds_is_refused_beside_nan():
    image = {"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, float("nan")], "area": 10**400}
    text = json.dumps({"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "cell"}]})
    with pytest.raises(DataError, match=r"instances\.json: "):
        decode_annotations(text.encode(), "instances.json")


@pytest.mark.parametrize("place", ["data.yaml", "list"])
def test_a_name_that_no_file_can_have_is_refused_in_yolo_data(tmp_path, place):
    (tmp_path / "train.txt").write_text("x" * 300 + ".jpg\n" if place == "list" else "")
    train = "train.txt" if place == "list" else "x" * 300
    (tmp_path / "data.yaml").write_text(f"train: {train}\nval: train.txt\nnames: [cell]\n")
    with pytest.raises(DataError, match=r"data\.yaml: '.*x+.* cannot be read: File name too long"):
        read_yolo(tmp_path / "data.yaml")


@pytest.mark.parametrize("kind", [Files, RunFiles, Annotations])
@pytest.mark.parametrize("name", ["../metrics.jsonl", "/etc/passwd", "a/../../b", "a\0b", "x" * 300, "\ud800"])
def test_a_name_beside_an_artifact_stays_beside_it(kind, name):
    good = {"metrics": "metrics.jsonl", "checkpoint": None}
    value = good | {"metrics": name}
    if kind is Annotations:
        value = {"file": name, "sha256": "0" * 64, "objects": 1, "crowds": 0}
    with pytest.raises(qat_artifacts.InvalidArtifact, match=r"metrics|file"):
        qat_artifacts.structure(value, kind, source="run.json")


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_an_image_without_a_name_is_refused(name):
    entry = {"image_id": "1", "file_name": name, "sha256": "0" * 64, "width": 9, "height": 9, "boxes": 0}
    with pytest.raises(qat_artifacts.InvalidArtifact, match="is no name of a file"):
        qat_artifacts.structure(entry, File, source="dataset.json")
    image = {"id": 1, "file_name": name, "width": 9, "height": 9}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    with pytest.raises(DataError, match=r"file_name '.*' (leaves the image folder|holds a control character)"):
        check_annotations(decode_annotations(json.dumps(content).encode(), "instances.json"), "instances.json")


def test_a_prepared_folder_that_names_no_possible_file_is_refused(tmp_path):
    from qat_data.coco import CocoLayout, read_coco
    from qat_data.prepare import Request as DataRequest
    from qat_data.prepare import prepare
    from qat_data.synth import synthesize

    synthesize(tmp_path / "coco", train_images=2, val_images=2, imgsz=64, seed=1)
    prepare(read_coco(CocoLayout(root=tmp_path / "coco")), tmp_path / "prepared", DataRequest())
    file = tmp_path / "prepared/dataset.json"
    content = json.loads(file.read_text())
    content["train"]["files"][0]["file_name"] = "x" * 300
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"dataset\.json: '.*x+.* cannot be read: File name too long"):
        check_prepared(file)


@pytest.mark.parametrize("side", [0, 2**31, 10**400])
def test_an_image_wider_than_any_format_can_state_is_refused(side):
    image = {"id": 1, "file_name": "1.jpg", "width": side, "height": 58}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    with pytest.raises(DataError, match=rf"hostile\.json: image 1: width {side}, height 58"):
        check_annotations(decode_annotations(json.dumps(content).encode(), "hostile.json"), "hostile.json")
