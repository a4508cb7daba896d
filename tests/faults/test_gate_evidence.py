"""Evidence that is mixed, missing or failed: NO-GO, every gap named; nobody is told GO by an accident."""

import shutil

import pytest

CELLS = [(variant, seed) for variant in ("yolo10n", "yolo10s") for seed in (0, 1)]


def plant(ladder, **last):
    """A good ladder; keywords change its last run."""
    for variant, seed in CELLS:
        ladder.run(variant, seed, **(last if (variant, seed) == CELLS[-1] else {}))
    return ladder


def reasons(ladder):
    """Texts of what is unmet; the decision itself is NO-GO, exit 4."""
    code, decision = ladder.decide()
    assert (code, decision["passed"]) == (4, False)
    return [reason["text"] for c in decision["criteria"] if not c["met"] for reason in c["reasons"]]


def test_the_ladder_that_the_faults_are_put_into_is_go(planted):
    assert plant(planted).decide()[0] == 0


MIXED = {
    "data": ({"dataset__fingerprint": "f" * 64}, "dataset.fingerprint"),
    "image size": ({"model__imgsz": 640}, "model.imgsz"),
    "epochs": ({"training__epochs": 7, "values": (0.1, 0.18, 0.22, 0.25, 0.27, 0.28, 0.28)}, "training.epochs"),
    "code": ({"versions": {"qat-train": "0.9.0"}}, "code "),
}


@pytest.mark.fault(
    "B2-41",
    "evidence of several data sets, image sizes, epochs or code versions: NO-GO, exit 4, the keys and both values",
    how="real",
)
@pytest.mark.parametrize(("changes", "key"), MIXED.values(), ids=MIXED)
def test_mixed_evidence(planted, changes, key):
    found = [text for text in reasons(plant(planted, **changes)) if key in text]
    assert found
    assert all("seed 1" in text or "yolo10s" in text for text in found)


@pytest.mark.fault("B2-42", "a seed of one variant is missing: NO-GO, the cell named", how="real")
def test_a_missing_seed(planted):
    for variant, seed in CELLS[:-1]:
        planted.run(variant, seed)
    assert any("yolo10s ema+qc has 1 independent seed(s), 2 are needed" in text for text in reasons(planted))


@pytest.mark.fault("B2-42", "a planned run has left nothing: NO-GO, missing whatever else ran", how="real")
def test_a_planned_run_that_is_gone(planted):
    plant(planted)
    planted.run("yolo10s", 2)
    shutil.rmtree(planted.trajectory("yolo10s", 2))
    for method in ("baseline", "ema", "ema+qc"):
        shutil.rmtree(planted.summary("yolo10s", method, 2).parent)
    assert "there is no run of yolo10s ema+qc seed 2" in reasons(planted)


@pytest.mark.fault("B2-42", "one run failed, another was cut off: NO-GO, incomplete named as such", how="real")
@pytest.mark.parametrize("status", ["failed", "running"])
def test_a_run_that_did_not_finish(planted, status):
    found = reasons(plant(planted, status=status, after=None))
    assert any("yolo10s ema+qc seed 1 did not finish" in text for text in found)


@pytest.mark.fault("B2-17", "one seed diverged for good: NO-GO, the class and the seed named", how="real")
def test_a_seed_that_diverged(planted):
    found = reasons(plant(planted, values=(0.1, 0.2, 0.3, None), after=None))
    assert any("yolo10s" in text and "seed 1" in text and "diverged" in text for text in found)
