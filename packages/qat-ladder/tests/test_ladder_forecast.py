"""`invoke ladder.plan`: hours, disk and wall time of a ladder before it is started."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_ladder.errors import ConfigError
from qat_ladder.forecast.costs import CORRECTION, Job, bytes_of, finish, stages
from qat_ladder.forecast.forecasting import Asked, as_json, as_text, forecast, parse_images, parse_positive

PACE = """
elif key == "qat-train pace":
    import tomli
    spec = tomli.loads(pathlib.Path(option("--spec")).read_text())
    training, key = spec["training"], spec["quantization"]
    learned = key["learned"]
    body = head | {"schema": "qat-train/pace", "variant": spec["model"]["variant"], "quantizer": "qat-train",
                   "imgsz": training["imgsz"], "batch": training["batch"], "amp": training["amp"],
                   "bits": key["bits"], "learned": learned, "interventions": [], "device": "a card",
                   "step_seconds": 0.75 if learned else 0.5, "image_seconds": 0.01, "start_seconds": 7.0}
    pathlib.Path(option("--out")).write_text(json.dumps(body))
"""


def job(seconds, **changes):
    made = {"variant": "yolo10n", "arm": "shared", "seed": 0, "rows": ("baseline",), "epochs": 1, "corrections": 0}
    return Job(**made | {"epoch": seconds, "lone_epoch": seconds, "start": 0.0} | changes)


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30), st.integers(1, 9))
def test_the_wall_lies_between_what_no_schedule_can_beat_and_what_one_after_another_takes(seconds, gpus):
    wall = finish([job(s) for s in seconds], gpus)
    least = max(*seconds, sum(seconds) / gpus)
    assert least * (1 - 1e-9) <= wall <= sum(seconds) * (1 + 1e-9)
    assert wall <= (sum(seconds) / gpus + max(seconds)) * (1 + 1e-9)  # Graham's bound for any order


def test_more_gpus_than_jobs_end_with_the_longest():
    assert finish([job(3.0), job(5.0), job(1.0)], 8) == 5.0
    assert finish([job(3.0), job(5.0), job(1.0)], 1) == 9.0


def test_a_job_is_a_start_its_epochs_and_its_corrections():
    one = job(10.0, lone_epoch=8.0, epochs=4, corrections=2, start=3.0, rows=("baseline", "ema", "ema+qc"))
    assert one.seconds == pytest.approx(3 + 40 + CORRECTION * 20)
    two = attrs.evolve(one, corrected=2, references=5.0)  # processes of their own, and evaluations that are made once
    assert two.seconds == pytest.approx(one.seconds + 2 * 3 + 5)
    assert two.alone == pytest.approx(one.alone + 2 * 3 + 5)
    assert two.stopped_after(3) == pytest.approx(two.seconds - 3 - 5 - 30)
    assert one.alone == pytest.approx(3 * (3 + 32) + CORRECTION * 20)
    assert one.stopped_after(3) == pytest.approx(one.seconds - 3 - 30)
    assert one.stopped_after(9) == pytest.approx(one.seconds - 3 - 40)


def test_a_run_fills_the_disk_with_its_weights_and_those_of_its_corrections():
    whole = bytes_of("yolo10n", corrections=1)
    assert whole - bytes_of("yolo10n", corrections=0) == bytes_of("yolo10n", corrections=1, trained=True)
    assert bytes_of("yolo10n", corrections=0, trained=True) == 0.0
    assert bytes_of("yolo10m", corrections=1) > bytes_of("yolo10s", corrections=1) > whole


def test_the_gated_variant_waits_for_all_others():
    waiting = job(1.0, variant="yolo10m")
    assert stages([waiting, job(2.0), job(3.0, variant="yolo10s")], "yolo10m") == (
        [job(2.0), job(3.0, variant="yolo10s")],
        [waiting],
    )


@pytest.fixture
def asked(request_for):
    def make(*, variants=("yolo10n",), gpus=2, images=None, paces=(), measure=0, device="cpu", **flags):
        return Asked(
            requests=tuple(request_for(variant=name, device=device, **flags) for name in variants),
            gpus=gpus,
            images=images,
            paces=paces,
            measure=measure,
        )

    return make


def test_a_plan_writes_nothing_and_counts_every_cell(asked, tmp_path, products):
    told = forecast(asked(variants=("yolo10n", "yolo10s", "yolo10m"), seeds=[0, 1, 2]))
    assert products.calls() == []
    assert not (tmp_path / "runs").exists()
    assert [(row["variant"], row["runs"], len(row["rows"])) for row in told["arms"]] == [
        ("yolo10n", 3, 3),
        ("yolo10s", 3, 3),
        ("yolo10m", 3, 3),
    ]
    assert {row["source"] for row in told["arms"]} == {"guessed from the CPU"}
    total = told["total"]
    assert (total["runs"], total["rows"]) == (9, 27)
    assert total["wall_seconds"] == pytest.approx(sum(total["wall_seconds_of_stages"]))
    assert total["seconds"] / 2 <= total["wall_seconds"] <= total["seconds"]
    alone = forecast(asked(variants=("yolo10n", "yolo10s", "yolo10m"), seeds=[0, 1, 2], trajectory="separate"))
    assert total["shared_saves_seconds"] == pytest.approx(alone["total"]["seconds"] - total["seconds"], rel=0.05)
    text = as_text(told)
    assert "9 training runs instead of 27" in text
    assert "then yolo10m after the gate" in text
    assert json.loads(as_json(told)) == told


def test_separate_runs_share_nothing_and_say_nothing_of_it(asked):
    told = forecast(asked(trajectory="separate"))
    assert [row["arm"] for row in told["arms"]] == ["baseline", "ema", "ema-qc"]
    assert told["total"]["shared_saves_seconds"] == pytest.approx(0.0)
    assert "instead of" not in as_text(told)


def test_a_measurement_is_made_with_data_and_weights_of_the_ladder_and_counts(asked, products, tmp_path):
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)
    told = forecast(asked(measure=5, seeds=[0]))
    calls = products.calls()
    assert [" ".join(call[:2]) for call in calls] == [
        "qat-data synth",
        "qat-data prepare",
        "qat-train inspect",
        "qat-train pace",
    ]
    folder = tmp_path / "runs" / "pace" / "yolo10n" / "shared"
    assert calls[-1][2:] == ["--spec", str(folder / "run.toml"), "--steps", "5", "--out", str(folder / "pace.json")]
    (row,) = told["arms"]
    assert (row["source"], row["device"]) == ("measured by qat-train pace", "a card")
    train, val = row["images"]
    epoch = -(-train // 16) * 0.5 + 2 * val * 0.01
    assert row["epoch_seconds"] == pytest.approx(epoch)
    # Seven seconds for the run, and for its correction, which is a process too.
    assert row["seconds"] == pytest.approx(2 * 7.0 + 2 * val * 0.01 + epoch * (row["epochs"] + CORRECTION))


def test_one_file_for_several_variants_is_refused_before_anything_is_measured(asked, products, tmp_path):
    with pytest.raises(ConfigError, match=r"one file, and yolo10n, yolo10s are to be measured; measure one of them"):
        forecast(asked(measure=5, variants=("yolo10n", "yolo10s"), checkpoint=str(tmp_path / "n.pt")))
    assert products.calls() == []


def test_references_are_counted_once_for_a_variant(asked, products):
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)
    one, three = (forecast(asked(measure=5, seeds=seeds)) for seeds in ([0], [0, 1, 2]))
    references = 2 * one["arms"][0]["images"][1] * 0.01
    assert three["total"]["seconds"] == pytest.approx(3 * one["total"]["seconds"] - 2 * references)


def test_every_arm_is_measured_for_itself_and_before_what_ran_in_the_root(asked, products, tmp_path):
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)
    folder = tmp_path / "runs" / "trajectories" / "yolo10n" / "shared" / "seed0"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"seconds": 1000.0}\n')
    told = forecast(asked(measure=2, seeds=[0], methods=["learned", "baseline"]))
    steps = {row["arm"]: row["epoch_seconds"] - row["images"][1] * 0.01 for row in told["arms"]}
    batches = -(-told["arms"][0]["images"][0] // 16)
    assert steps == pytest.approx({"learned-true": 0.75 * batches, "shared": 0.5 * batches})
    assert {row["source"] for row in told["arms"]} == {"measured by qat-train pace"}


def test_data_are_prepared_once_and_weights_for_drawn_data_made_as_the_ladder_makes_them(asked, products):
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)
    told = forecast(asked(measure=2, seeds=[0], variants=("yolo10n", "yolo10s")))
    kinds = [" ".join(call[:2]) for call in products.calls()]
    assert kinds.count("qat-train pretrain") == 1  # of s: none is shipped
    assert kinds.count("qat-train pace") == 2
    assert told["total"] is not None
    (checked,) = [i for i, kind in enumerate(kinds) if kind == "qat-data check"]
    assert kinds.index("qat-data prepare") < checked


def test_a_file_from_elsewhere_counts_where_it_fits_and_for_other_data(asked, tmp_path, products):
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)
    forecast(asked(measure=5, seeds=[0]))
    file = tmp_path / "runs" / "pace" / "yolo10n" / "shared" / "pace.json"
    there = {"root": tmp_path / "another", "paces": (file,), "images": (118_287, 5_000)}
    told = forecast(asked(variants=("yolo10n", "yolo10s"), **there))
    assert [row["source"] for row in told["arms"]] == ["measured by qat-train pace", "guessed from the CPU"]
    assert told["arms"][0]["epoch_seconds"] == pytest.approx(7_393 * 0.5 + 2 * 5_000 * 0.01)
    (row,) = forecast(asked(settings=("training.batch=8",), **there))["arms"]
    assert row["source"] == "guessed from the CPU"


def test_what_ran_in_the_root_counts_first(asked, tmp_path):
    folder = tmp_path / "runs" / "trajectories" / "yolo10n" / "shared" / "seed4"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"seconds": 30.0}\n{"seconds": 10.0}\n{"seconds": 20.0}\n')
    (row,) = forecast(asked())["arms"]
    assert (row["epoch_seconds"], row["source"]) == (20.0, "measured in this root")
    (row,) = forecast(asked(images=(118_287, 5_000)))["arms"]
    assert row["source"] == "guessed from the CPU"  # its epochs say nothing of so many images
    (folder / "metrics.jsonl").write_text('{"seconds": "long"}\n')
    with pytest.raises(qat_artifacts.ArtifactError, match=r"metrics\.jsonl: .*no seconds in one of its lines"):
        forecast(asked())


CPU = ("shared trajectory, 1 CPU\n", " CPU-hours, ", " on 1 CPU\n")
GPU = ("shared trajectory, 8 GPUs\n", " GPU-hours, ", " on 8 GPUs\n")


def test_hours_are_those_of_what_works(asked, tmp_path, monkeypatch, products):
    """Guessed, then measured in the root, on either; then as somebody else's file says."""
    where = "qat_ladder.estimate.shutil.which"
    monkeypatch.setattr(where, lambda _: None)
    assert all(text in as_text(forecast(asked(gpus=1))) for text in CPU)
    folder = tmp_path / "runs" / "trajectories" / "yolo10n" / "shared" / "seed4"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"seconds": 30.0}\n')
    assert all(text in as_text(forecast(asked(gpus=1))) for text in CPU)
    monkeypatch.setattr(where, lambda _: "/usr/bin/nvidia-smi")
    found = as_text(forecast(asked(gpus=8, device="auto")))
    assert all(text in found for text in GPU), found
    assert all(text in as_text(forecast(asked(gpus=1))) for text in CPU)
    monkeypatch.setattr(where, lambda _: None)
    script = products.folder / "product.py"
    script.write_text(script.read_text() + PACE)  # of a card
    found = as_text(forecast(asked(gpus=8, measure=5, seeds=[0])))
    assert all(text in found for text in GPU), found


def test_unknown_speeds_are_said_to_be_unknown(asked, monkeypatch):
    monkeypatch.setattr("qat_ladder.forecast.paces.seconds_per_epoch", lambda *_: None)  # as with a GPU
    told = forecast(asked())
    assert told["total"] is None
    assert told["arms"][0]["seconds"] is None
    assert "measure here (--measure 20), or give files of qat-train pace (--pace)" in as_text(told)
    assert told["bytes"] > 0


def test_images_that_nobody_can_count_are_asked_for(asked, tmp_path):
    told = forecast(asked(coco_root=str(tmp_path / "nothing"), profile="full"))
    assert told["total"] is None
    assert "give --images TRAINING,VALIDATION, or correct --coco-root" in as_text(told)


@pytest.mark.parametrize("text", ["118287", "0,5", "a,b", "1,2,3", "-1,2"])
def test_numbers_of_images_are_two_positive_integers(text):
    with pytest.raises(ConfigError, match="expected training and validation images, such as 118287,5000"):
        parse_images(text)
    assert parse_images("") is None
    assert parse_images(" 118287, 5000") == (118287, 5000)


@pytest.mark.parametrize("text", ["0", "-1", "two", "", "1.5"])
def test_gpus_are_at_least_one(text):
    with pytest.raises(ConfigError, match=r"--gpus .* expected a positive integer"):
        parse_positive("--gpus", text)
    assert parse_positive("--gpus", "8") == 8


def test_jobs_are_records():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        job(1.0).seed = 1
