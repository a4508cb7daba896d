"""Exported models beside the rows they were made from."""

import json

import pytest

from qat_report import compare

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
