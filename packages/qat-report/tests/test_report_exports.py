"""Exported models beside the rows they were made from, and what they find in images."""

import base64
import hashlib
import json
import re
from html import unescape

import attrs
import pytest

from qat_artifacts import InvalidArtifact
from qat_report import compare, verify
from qat_report.comparing import assemble
from qat_report.finding import read_summaries
from qat_report.pictures import embed

RAW = "738b9a6282e0ac6413c833e62516c5bdc8226bbb06071f8d168e8d02a20362b2"  # the last raw weights of the fixture run


def document(run_id="n/seed0", method="ema+qc", **changes):
    return {
        "schema": "qat-train/export",
        "version": "1.0",
        "created_by": "qat-train 0.1.0",
        "inputs": [],
        "run_id": run_id,
        "method": method,
        "weights_sha256": "997164d13810adf6cab52541447d083c4472e5ca6052cc6ddd9501318ac5730c",
        "accuracy": {"torch": {"map50_95": 0.40625, "map50": 0.5}, "onnx": {"map50_95": 0.40625, "map50": 0.5}},
        "sizes": {
            "packed": 1_200_000,
            "onnx_int4": 1_500_000,
            "onnx_int8": 3_000_000,
            "onnx_fp16": 5_000_000,
            "onnx_fp32": 9_000_000,
        },
        "latency": {
            "imgsz": 320,
            "threads": 2,
            "calls": 30,
            "fp32_ms": 10.0,
            "int4_ms": 20.0,
            "int4_folded_ms": 10.5,
        },
        "anything": "else",
    } | changes


@pytest.fixture
def exported(traced, pages_of):
    """A root, compared with one export of it; returns the comparison and the Markdown page."""

    def make(**changes):
        root = traced()
        path = root / "exports/export.json"
        path.parent.mkdir()
        path.write_text(json.dumps(document(**changes)), encoding="utf-8")
        pages = pages_of(root, exports=[path])
        return pages.made, pages.markdown

    return make


def test_sizes_and_latencies_stand_beside_the_row_they_are_of(exported):
    made, page = exported()
    (row,) = made.comparison.exports
    assert (row.run_id, row.export, row.sizes.packed) == ("n/seed0/ema+qc", "exports/export.json", 1_200_000)
    sizes, latencies = "1.20 | 1.50 | 3.00 | 5.00 | 9.00 | 6.00", "10.0 | 20.0 | 10.5 | 320 px, 2 threads"
    assert f"| n/seed0/ema+qc | 0.4062 | 0.4062 | {sizes} | {latencies} |" in page


def test_export_without_a_benchmark_has_no_latency(exported):
    assert "| 6.00 | – | – | – | – |" in exported(latency=None)[1]


def test_export_is_an_input_of_the_comparison(exported, tmp_path):
    made, _ = exported()
    assert made.inputs[-1] == tmp_path / "root/exports/export.json"


def test_export_of_other_weights_than_the_rows_is_left_out_and_said(exported):
    made, page = exported(weights_sha256="0" * 64)
    assert made.comparison.exports == ()
    text = "exports/export.json is left out: the final value of n/seed0/ema+qc was measured with other weights"
    assert text in page
    assert "## Exported models" not in page


@pytest.mark.parametrize("changes", [{"run_id": "another"}, {"schema": "somebody/export"}])
def test_file_that_is_no_export_of_these_rows_is_left_alone(exported, changes):
    assert exported(**changes)[0].comparison.exports == ()


def test_compare_finds_exports_below_its_sources_and_where_it_is_told(traced, tmp_path):
    root = traced(methods=("baseline", "ema+qc"))
    (root / "exports").mkdir()
    (root / "exports/export.json").write_text(json.dumps(document()), encoding="utf-8")
    there = tmp_path / "deployed.json"
    there.write_text(json.dumps(document(method="baseline", weights_sha256=RAW)), encoding="utf-8")
    found = compare([root], out=tmp_path / "out", exports=[there])
    assert [row.export for row in found.exports] == ["../deployed.json", "../root/exports/export.json"]
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert '<a href="../root/exports/export.json">export.json</a>' in html
    assert "Exported models</h2>" in html


# The smallest JPEG that a browser draws: one grey pixel.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)
PICTURES = {"file": "pictures.jpg", "images": 2, "confidence": 0.25, "fp32": [11, 4], "int4": [10, 4]}


def write_export(folder, *, content=JPEG, **changes):
    """An export of version 1.1 with its picture."""
    folder.mkdir(parents=True)
    (folder / "pictures.jpg").write_bytes(content)
    hashes = {"pictures.jpg": hashlib.sha256(content).hexdigest()}
    made = document(version="1.1", pictures=PICTURES, files_sha256=hashes) | changes
    (folder / "export.json").write_text(json.dumps(made), encoding="utf-8")
    return folder / "export.json"


@pytest.fixture
def pictured(traced, pages_of):
    """The pages of a root with an export that has pictures."""

    def make(**changes):
        root = traced()
        return pages_of(root, exports=[write_export(root / "exports", **changes)])

    return make


def policy_of(html):
    return unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1])


TEXT = "2 validation images, objects from score 0.25 on: FP32 11, 4; INT4 10, 4"


def test_picture_stands_in_the_page_itself_with_its_counts_as_text(pictured):
    pages = pictured()
    (picture,) = pages.contents.pictures
    assert base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,")) == JPEG
    html = pages.html
    assert html.count(f'<img src="{picture.uri}" alt="n/seed0/ema+qc: {TEXT}">') == 1
    assert policy_of(html).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "more under" not in html
    assert '<a href="exports/pictures.jpg">pictures</a>' in html
    assert f"- n/seed0/ema+qc: [picture](exports/pictures.jpg), {TEXT}\n" in pages.markdown


def test_page_without_a_picture_allows_no_image(exported, pages_of, tmp_path):
    exported()  # of version 1.0
    html = pages_of(tmp_path / "root", exports=[tmp_path / "root/exports/export.json"]).html
    assert policy_of(html).startswith("default-src 'none'; style-src 'sha256-")
    assert "<img" not in html


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"files_sha256": {"pictures.jpg": "0" * 64}}, "exports/pictures.jpg is refused: its SHA-256 is not the one in "
         "export.json; export again"),
        ({"files_sha256": {}}, "exports/pictures.jpg is refused: its SHA-256 is not the one in export.json; "
         "export again"),
        ({"content": b"<svg onload='alert(1)'/>"}, "exports/pictures.jpg is refused: it is no JPEG"),
        ({"content": JPEG + bytes(150_000)}, "exports/pictures.jpg is left out: 150,159 bytes, a page takes 150,000"),
        ({"pictures": PICTURES | {"file": "gone.jpg"}}, "exports/gone.jpg is left out: it is not there"),
        ({"pictures": PICTURES | {"file": "../export.json"}}, "exports/export.json: its pictures are refused, "
         "'../export.json' is not a name beside it"),
        ({"pictures": PICTURES | {"file": "a\0.jpg"}}, "exports/export.json: its pictures are refused, "
         "'a\\x00.jpg' is not a name beside it"),
    ],
)  # fmt: skip
def test_picture_that_is_not_the_one_exported_is_refused_with_a_note(pictured, changes, note):
    pages = pictured(**changes)
    (row,) = pages.made.comparison.exports
    assert row.pictures is None
    assert note in pages.made.comparison.notes
    assert pages.contents.pictures == ()
    assert "[picture]" not in pages.markdown


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"int4": [10]}, "2 images of FP32, 1 of INT4"),
        ({"confidence": 25}, r"confidence 25.0 is outside \[0, 1\]"),
        ({"fp32": [-1, 4]}, "fp32"),
    ],
)
def test_impossible_counts_are_an_error_of_the_file(pictured, fields, text):
    with pytest.raises(InvalidArtifact, match=text):
        pictured(pictures=PICTURES | fields)


def test_changed_picture_is_noticed_by_verify(traced, tmp_path):
    root = traced()
    write_export(root / "exports")
    compare([root], out=root)
    assert verify(root).faults == ()
    first = (root / "index.html").read_bytes()
    compare([root], out=root)
    assert (root / "index.html").read_bytes() == first
    (root / "exports/pictures.jpg").write_bytes(JPEG + b" ")
    (fault,) = verify(root).faults
    assert str(fault) == f"{root / 'exports/pictures.jpg'}: changed since the comparison was written"


def test_page_holds_one_picture_per_variant_and_three_at_most_the_verdicts_row_first(traced, tmp_path):
    root = traced(methods=("baseline", "ema+qc"))
    exports = [
        write_export(tmp_path / "raw", method="baseline", weights_sha256=RAW),
        write_export(tmp_path / "corrected"),
    ]
    made = assemble(read_summaries([root]), out=root, gate=None, exports=exports, choice=None).comparison
    assert [row.pictures is not None for row in made.exports] == [True, True]
    (shown,) = embed(made.exports, made.rows, out=root)
    assert shown.run_id == "n/seed0/ema+qc"
    row, export = made.rows[0], made.exports[0]
    variants = ("yolo10n", "yolo10s", "yolo10m", "other")
    rows = [attrs.evolve(row, run_id=name, variant=name) for name in variants]
    many = [attrs.evolve(export, run_id=name) for name in variants]
    assert [picture.run_id for picture in embed(many, rows, out=root)] == ["yolo10n", "yolo10s", "yolo10m"]


def test_pictures_that_the_page_does_not_hold_are_counted_and_linked(traced, pages_of, tmp_path):
    root = traced(methods=("baseline", "ema+qc"))
    write_export(root / "raw", method="baseline", weights_sha256=RAW)
    write_export(root / "corrected")
    html = pages_of(root, exports=sorted(root.rglob("export.json"))).html
    assert html.count("<img ") == 1
    assert "One picture per variant, three at most; 1 more under" in html
    assert re.findall(r'<a href="(\w+)/pictures.jpg">', html) == ["raw", "corrected"]


@pytest.mark.slow
def test_policy_lets_a_browser_show_the_picture_in_the_page_and_none_beside_it(shown, pictured, tmp_path):
    html = pictured().html
    page = tmp_path / "root/page.html"
    page.write_text(html, encoding="utf-8")
    done = shown(page)
    assert done.stdout.count('<img src="data:image/jpeg;base64,') == 1
    assert "Content Security Policy" not in done.stderr
    page.write_text(html.replace("</main>", '<img src="exports/pictures.jpg"></main>'), encoding="utf-8")
    assert "Content Security Policy" in shown(page).stderr  # so the silence above means something
