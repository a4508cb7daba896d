"""Early signs of a collapse: on recorded runs, sound ones and some made to collapse, and on constructed ones."""

import json
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qat_report import ReportError
from qat_report.early_warning import watch, watch_run
from qat_report.epochs import DriftView, EpochView, LayerSpread, OscillationView, TrackedTotal, read_epochs
from qat_report.records import Event
from qat_report.signs import DRIFT, FALL, LOSS, SWITCHED, SWITCHES, switch_share
from qat_report.views import EvaluationPoint

RECORDED = sorted((Path(__file__).parent / "fixtures/recorded").glob("*.jsonl"))
MADE = sorted((Path(__file__).parent / "fixtures/recorded/made-to-collapse").iterdir())
UNRECORDED = "scale-drift: the lines were written before it was recorded"


def lines(values, *, switches=None, rates=None, losses=None, drifts=None, weights=None, events=()):
    """Epochs of 10 steps with these evaluations of the raw weights, switches of a code, learning rates, training losses
    and drifts of the scales in the median layer.
    """

    def point(value):
        numbers = dict.fromkeys(("map50_95", "map50", "precision", "recall"), value)
        return None if value is None else EvaluationPoint(**numbers, weights_sha256="0" * 64)

    def moved(count):
        total = TrackedTotal(frequency=0.0, share=0.0, switches=count, by_weight=count, by_scale=0, weights=weights)
        return OscillationView(momentum=0.01, threshold=0.02, total=total)

    def drift(median):
        spread = None if median is None else LayerSpread(median=median, max=2 * median)
        return DriftView(scale_since_before=spread, scale_since_start=spread, bn_variance=None)

    return [
        EpochView(
            epoch=number,
            seconds=1.0,
            loss={"box": losses[number - 1] if losses else 1.0},
            raw=point(value),
            ema=None,
            events=tuple(event for event in events if event.epoch == number),
            oscillation=moved(switches[number - 1]) if switches else None,
            learning_rate=rates[number - 1] if rates else 1e-4,
            drift=drift(drifts[number - 1]) if drifts else None,
            steps=10 * number,
        )
        for number, value in enumerate(values, start=1)
    ]


def alarms(found):
    return {alarm.sign: alarm.epoch for alarm in found.alarms}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("series", ["raw", "ema"])
def test_recorded_stable_runs_give_no_alarm(path, series):
    found = watch(read_epochs(path), series, fp32=0.35)
    assert (found.run_class, found.alarms, found.standing, found.collapse_epoch) == ("stable", (), (), None)
    assert found.not_checked == (UNRECORDED,)


def test_limits_keep_the_distance_from_recorded_runs_that_is_said():
    falls, rates, rises, shares = [0.0], [0.0], [0.0], [0.0]
    for path in RECORDED:
        epochs = read_epochs(path)
        for series in ("raw", "ema"):
            values = [epoch.point(series).map50_95 for epoch in epochs]
            falls += [1 - value / best for best, value in zip(accumulate(values, max), values, strict=True)]
        moved = [epoch.oscillation.total.switches / epoch.learning_rate for epoch in epochs[1:]]
        rates += [moved[i] / median(moved[:i]) for i in range(3, len(moved))]
        shares += [switch_share(epochs[:end]) for end in range(1, len(epochs) + 1)]
        total = [sum(epoch.loss.values()) for epoch in epochs]
        rises += [loss / lowest for lowest, loss in zip(accumulate(total, min), total, strict=True)]
    assert len(RECORDED) == 11
    assert max(falls) < 0.068 < (1 - FALL) / 2
    assert max(rates) < 1.1 < SWITCHES
    assert max(rises) < 1.05 < LOSS
    assert max(shares) < 0.004 < SWITCHED / 8


# (class, first epoch of each sign, collapse epoch) of each run that was made for this; commands in fixtures/recorded.
VERDICTS = {
    ("lr1.5e-3", "raw"): ("stable", {"metric-fall": 3}, None),
    ("lr1.5e-3", "ema"): ("stable", {}, None),
    ("lr1.5e-3-seed1", "raw"): ("stable", {"metric-fall": 3}, None),
    ("lr1.5e-3-seed1", "ema"): ("stable", {"metric-fall": 8}, None),
    ("lr1.5e-3-tensor", "raw"): ("stable", {"metric-fall": 3}, None),
    ("lr1.5e-3-tensor", "ema"): ("stable", {"metric-fall": 3}, None),
    ("lr1e-2", "raw"): ("collapsed", {"switch-share": 2, "metric-fall": 3}, 3),
    ("lr1e-2", "ema"): ("collapsed", {"switch-share": 2, "metric-fall": 4}, 5),
    ("lr1e-3", "raw"): ("stable", {"metric-fall": 3}, None),
    ("lr1e-3", "ema"): ("stable", {}, None),
    ("lr1e-3-tensor", "raw"): ("stable", {"metric-fall": 3}, None),
    ("lr1e-3-tensor", "ema"): ("stable", {}, None),
    ("lr2e-3", "raw"): ("collapsed", {"metric-fall": 3, "switch-share": 3}, 3),
    ("lr2e-3", "ema"): ("collapsed", {"metric-fall": 3, "switch-share": 3}, 5),
    ("lr2e-3-tensor", "raw"): ("collapsed", {"metric-fall": 3, "switch-share": 3}, 3),
    ("lr2e-3-tensor", "ema"): ("stable", {"metric-fall": 3, "switch-share": 3}, None),
    ("lr5e-3", "raw"): ("collapsed", {"metric-fall": 2, "switch-share": 2}, 5),
    ("lr5e-3", "ema"): ("collapsed", {"switch-share": 2, "metric-fall": 5}, 6),
    ("lr5e-3-seed1", "raw"): ("collapsed", {"metric-fall": 2, "switch-share": 2}, 6),
    ("lr5e-3-seed1", "ema"): ("collapsed", {"switch-share": 2, "metric-fall": 6}, 6),
    ("scale-lr", "raw"): ("collapsed", {"switch-share": 1, "scale-drift": 1, "metric-fall": 2}, 2),
    ("scale-lr", "ema"): ("stable", {"switch-share": 1, "scale-drift": 1, "metric-fall": 2}, None),
    ("w2-tensor", "raw"): ("stable", {"metric-fall": 6}, None),
    ("w2-tensor", "ema"): ("stable", {"metric-fall": 7}, None),
    ("w3-learned", "raw"): ("stable", {"metric-fall": 2}, None),
    ("w3-learned", "ema"): ("stable", {}, None),
    ("w4", "raw"): ("stable", {}, None),
    ("w4", "ema"): ("stable", {}, None),
    ("w4-learned", "raw"): ("stable", {}, None),
    ("w4-learned", "ema"): ("stable", {}, None),
}


def test_every_run_that_was_made_for_the_limits_has_a_verdict():
    assert {name for name, _ in VERDICTS} == {folder.name for folder in MADE}


@pytest.mark.parametrize(("name", "series"), VERDICTS, ids=lambda part: part)
def test_runs_made_to_collapse_and_their_sound_siblings(name, series):
    found = watch_run(Path(__file__).parent / "fixtures/recorded/made-to-collapse" / name, series)
    assert (found.run_class, alarms(found), found.collapse_epoch) == VERDICTS[name, series]


def test_share_of_switches_tells_raw_weights_that_collapse_from_those_that_do_not():
    largest = {
        folder.name: max(
            switch_share(epochs[:end])
            for epochs in [read_epochs(folder / "metrics.jsonl")]
            for end in range(1, len(epochs) + 1)
        )
        for folder in MADE
    }
    collapsed = {name for name, series in VERDICTS if series == "raw" and VERDICTS[name, series][0] == "collapsed"}
    assert {name for name, share in largest.items() if share >= SWITCHED} == collapsed
    assert max(share for name, share in largest.items() if name not in collapsed) < 0.033
    assert min(share for name, share in largest.items() if name in collapsed) > 0.039


def test_drift_of_batch_norm_does_not_tell_them_apart():
    last = {folder.name: read_epochs(folder / "metrics.jsonl")[-1].drift.bn_variance.median for folder in MADE}
    assert last["lr5e-3"] < last["lr1e-3"]  # the one collapsed, the other did not


def test_slow_fall_is_seen_before_the_collapse_with_its_lead():
    found = watch(lines([0.2, 0.3, 0.4, 0.38, 0.31, 0.26, 0.21, 0.19, 0.1, 0.05]), "raw", fp32=0.44)
    assert alarms(found) == {"metric-fall": 5}
    assert found.alarms[0].text == "0.3100, below 0.8 x the best before, 0.4000"
    assert (found.run_class, found.first_epoch, found.collapse_epoch, found.lead_epochs) == ("collapsed", 5, 8, 3)


def test_switches_that_do_not_follow_the_learning_rate_are_seen_before_the_metric_falls():
    switches = [50, 100, 90, 80, 70, 140, 200, 300]
    rates = [1e-4, 1e-4, 9e-5, 8e-5, 7e-5, 6e-5, 5e-5, 4e-5]
    found = watch(
        lines([0.2, 0.3, 0.35, 0.38, 0.39, 0.39, 0.15, 0.1], switches=switches, rates=rates), "raw", fp32=0.44
    )
    assert alarms(found) == {"switch-rate": 6, "metric-fall": 7}
    assert found.alarms[0].text.startswith("2.33 x as many switches of a code per learning rate")
    assert (found.collapse_epoch, found.lead_epochs) == (7, 1)


def test_alarm_that_comes_with_the_collapse_has_no_lead():
    found = watch(lines([0.2, 0.4, 0.4, 0.1, 0.1, 0.1]), "raw", fp32=0.44)
    assert (found.first_epoch, found.collapse_epoch, found.lead_epochs) == (4, 4, 0)


def test_alarm_of_a_run_that_recovers_has_no_collapse_to_lead():
    found = watch(lines([0.2, 0.4, 0.3, 0.4, 0.41, 0.42]), "raw", fp32=0.44)
    assert (found.run_class, found.first_epoch, found.collapse_epoch, found.lead_epochs) == ("stable", 3, None, None)


def test_codes_that_switch_at_every_step_are_a_sign():
    found = watch(lines([0.2, 0.3, 0.3], switches=[100, 349, 351], weights=1000), "raw")
    assert alarms(found) == {"switch-share": 3}
    assert found.alarms[0].text == "3.5% of all codes switch at each step"


def test_scales_that_leave_are_a_sign():
    found = watch(lines([0.2, 0.3, 0.3], drifts=[None, 0.9 * DRIFT, DRIFT]), "raw")
    assert alarms(found) == {"scale-drift": 3}
    assert found.alarms[0].text == "scales moved by 2.0% in one epoch in the median layer, by 4.0% in one"


def test_sign_that_has_not_gone_away_stands_for_so_many_epochs():
    found = watch(lines([0.4, 0.3, 0.4, 0.3, 0.2, 0.1], losses=[1, 1, 9, 1, 1, 1]), "raw", fp32=0.44)
    assert alarms(found) == {"metric-fall": 2, "loss-rise": 3}
    (standing,) = found.standing
    assert (standing.sign, standing.epochs, standing.text) == (
        "metric-fall",
        3,
        "0.1000, below 0.8 x the best before, 0.4000",
    )


def test_loss_that_rises_is_a_sign():
    found = watch(lines([0.2, 0.3, 0.3], losses=[2.0, 1.0, 1.5]), "raw")
    assert alarms(found) == {"loss-rise": 3}
    assert found.alarms[0].text == "training loss 1.5, 1.50 x the lowest before"


def test_number_that_is_not_finite_is_a_sign_and_the_collapse_of_a_diverged_run():
    found = watch(lines([0.2, 0.3, 0.3, None], losses=[1.0, 1.0, None, None]), "raw")
    assert alarms(found) == {"not-finite": 3}
    assert found.alarms[0].text == "not finite: box loss"
    assert (found.run_class, found.collapse_epoch, found.lead_epochs) == ("diverged", 4, 1)


def test_event_of_a_repaired_fault_is_a_sign_too():
    fault = Event(epoch=2, kind="nan-weights", detail="")
    assert alarms(watch(lines([0.2, 0.3, 0.3], events=[fault]), "raw")) == {"not-finite": 2}


def test_fall_from_almost_nothing_is_none():
    assert alarms(watch(lines([0.02, 0.005, 0.3]), "raw", fp32=0.44)) == {}
    assert alarms(watch(lines([0.02, 0.005, 0.3]), "raw")) == {"metric-fall": 2}


def test_what_the_lines_do_not_show_is_said():
    assert watch(lines([0.2, 0.3]), "raw").not_checked == (
        "switch-share: the lines do not say how many weights were tracked over how many steps",
        UNRECORDED,
        "switch-rate: fewer than 4 epochs after the first have switches and a learning rate",
        "metric-fall: no FP32 reference is known, any best counts as a height to fall from",
    )


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), min_size=1, max_size=12), st.integers(1, 12))
def test_alarm_is_decided_without_the_future(values, end):
    whole, part = watch(lines(values), "raw", fp32=0.44), watch(lines(values[:end]), "raw", fp32=0.44)
    assert part.alarms == tuple(alarm for alarm in whole.alarms if alarm.epoch <= end)


def test_run_that_goes_on_is_watched_with_its_reference(run):
    folder = run(status="running")
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(text[:3]) + "\n", encoding="utf-8")
    found = watch_run(folder, "raw")
    assert (found.epochs, found.run_class, found.alarms) == (3, "insufficient", ())
    assert not any("FP32" in text for text in found.not_checked)


def test_lines_alone_are_watched_without_a_reference(run):
    assert "no FP32 reference" in watch_run(run() / "metrics.jsonl", "ema").not_checked[-1]


def test_series_that_was_not_validated_is_refused_with_the_other(run):
    folder = run(lines=[json.dumps(json.loads(line) | {"raw": None}) for line in RECORDED[0].read_text().splitlines()])
    with pytest.raises(ReportError, match=r"metrics.jsonl: the raw weights were not validated; use --series ema$"):
        watch_run(folder / "metrics.jsonl", "raw")


def test_run_without_a_finished_epoch_is_refused(run):
    folder = run(lines=[], status="running")
    with pytest.raises(ReportError, match=r"metrics.jsonl: no epoch is finished yet$"):
        watch_run(folder, "raw")


def qat_report(*arguments):
    command = [sys.executable, "-c", "from qat_report.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_tells_people_and_programs(run):
    values = [0.2, 0.4, 0.3, 0.1]
    base = json.loads(RECORDED[0].read_text(encoding="utf-8").splitlines()[0])
    made = [base | {"epoch": i, "raw": base["raw"] | {"map50_95": v}} for i, v in enumerate(values, start=1)]
    folder = run(lines=map(json.dumps, made), status="running")
    done = qat_report("warn", folder)
    assert done.stdout.splitlines() == [
        "warned       epoch 3",
        "collapse     epoch 4, +1 epochs after the first alarm",
        "class        collapsed, raw weights, 4 epochs",
        "metric-fall: epoch 3: 0.3000, below 0.8 x the best before, 0.4000",
        "stands for 2 epochs: metric-fall: 0.1000, below 0.8 x the best before, 0.4000",
        f"not checked: {UNRECORDED}",
        "not checked: switch-rate: fewer than 4 epochs after the first have switches and a learning rate",
    ]
    found = json.loads(qat_report("warn", folder, "--json").stdout)
    assert (done.returncode, found["first_epoch"], found["lead_epochs"], found["class"]) == (0, 3, 1, "collapsed")
