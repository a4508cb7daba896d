"""The gate judges a history by its own implementation of the stability rules; it must agree with qat-report's."""

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qat_artifacts
from qat_gate import RunSummary
from qat_gate.judging import derive_findings, shown_not_collapsed
from qat_gate.summaries import Event as SeenEvent
from qat_gate.summaries import Point as SeenPoint
from qat_report import Event, Point, classify

levels = st.none() | st.sampled_from([0.0, 0.005, 0.01, 0.1, 0.2, 0.25, 0.4]) | st.floats(0.0, 1.0)
kinds = st.sampled_from(["nan-loss", "nan-weights", "rollback", "scaler-skip", "resumed", "something-new"])
events = st.lists(st.tuples(st.integers(1, 12), kinds), max_size=3)
references = st.none() | st.sampled_from([0.0, 0.05, 0.2, 0.44])


@pytest.fixture(scope="module")
def template(pytestconfig):
    golden = pytestconfig.rootpath / "tests" / "contracts" / "golden" / "qat-report-run-summary-1.0.json"
    return qat_artifacts.read_view(golden, RunSummary)


@given(st.lists(levels, max_size=12), st.booleans(), events, references, references, st.sampled_from(["each", "none"]))
@example([0.1, 0.4, 0.05, 0.05, 0.05, 0.4], False, [], 0.44, 0.07, "each")
@example([0.1, 0.2, 0.4, 0.4, 0.4], False, [], 0.44, 0.07, "each")
@example([0.1, None, 0.3, 0.35, 0.4], True, [(2, "nan-loss")], 0.44, 0.07, "each")
@settings(deadline=None, max_examples=400)
def test_both_find_the_same(template, values, corrected, happened, fp32, ptq, hashes):
    points = [
        (epoch, value, f"{epoch}" if hashes == "each" else None, "qc" if corrected and epoch == len(values) else "qat")
        for epoch, value in enumerate(values, start=1)
    ]
    verdict = classify(
        [Point(epoch=e, value=v, weights_sha256=h, stage=s) for e, v, h, s in points],
        fp32=fp32,
        ptq=ptq,
        events=[Event(epoch=e, kind=k, detail="") for e, k in happened],
    )
    history = tuple(SeenPoint(epoch=e, value=v, weights_sha256=h, stage=s) for e, v, h, s in points)
    seen = attrs.evolve(
        template,
        metrics=attrs.evolve(template.metrics, history=history, fp32=fp32, ptq=ptq),
        stability=attrs.evolve(template.stability, events=tuple(SeenEvent(epoch=e, kind=k) for e, k in happened)),
    )
    assert derive_findings(seen) == verdict.findings
    assert shown_not_collapsed(seen) == (not verdict.collapsed)
