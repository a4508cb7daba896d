"""Laws of the decision, on generated evidence."""

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qat_gate import decide

VARIANTS = ("yolo10n", "yolo10s")
METHODS = ("baseline", "ema", "ema+qc")
FAULTS = ("diverged", "collapsed", "no-signal", "frozen-metric", "insufficient", "recovered")
OUTCOMES = ("stable", "stable", "stable", *FAULTS, "incomplete", "tampered", "other data")


@pytest.fixture(scope="session")
def outcome(make):
    """One run with a named outcome."""

    def build(variant, method, seed, kind, **changes):
        if kind in FAULTS:
            changes["findings"] = [kind]
        elif kind == "incomplete":
            changes |= {"status": "incomplete", "findings": ["insufficient"], "values": (0.1, 0.2)}
        elif kind == "tampered":
            changes["metrics__final_value"] = 0.99
        elif kind == "other data":
            changes["dataset__fingerprint"] = "other"
        return make(variant, method, seed, **changes)

    return build


cells = st.tuples(st.sampled_from(VARIANTS), st.sampled_from(METHODS), st.integers(0, 2))
evidence = st.dictionaries(cells, st.sampled_from(OUTCOMES), max_size=18)
required = st.sampled_from([(variant, kind) for variant in VARIANTS for kind in (*FAULTS, "incomplete")])
spoiled = st.tuples(st.sampled_from(VARIANTS), st.sampled_from(METHODS), st.sampled_from(["tampered", "other data"]))
bad = required.map(lambda found: (found[0], "ema+qc", found[1])) | spoiled
nearly_go = st.dictionaries(
    st.sampled_from([(v, m, s) for v in VARIANTS for m in METHODS for s in (0, 1)]),
    st.sampled_from(OUTCOMES),
    max_size=2,
)


def complete(exceptions):
    """All cells of two seeds stable, but for the exceptions."""
    return {(v, m, s): "stable" for v in VARIANTS for m in METHODS for s in (0, 1)} | exceptions


@settings(deadline=None)  # a machine under load is no failure
@given(evidence | nearly_go.map(complete), bad, st.integers(0, 3))
def test_one_more_bad_run_never_turns_a_no_go_into_a_go(policy, outcome, found, addition, seed):
    runs = [outcome(*cell, kind) for cell, kind in found.items()]
    variant, method, kind = addition
    extra = outcome(variant, method, seed, kind, run_id="extra", trajectory_id=f"extra{seed}")
    assume(not decide(policy, runs).passed)
    assert not decide(policy, [*runs, extra]).passed


@settings(deadline=None)
@given(bad.filter(lambda found: found[2] != "incomplete"), st.integers(0, 3))
def test_one_bad_run_turns_a_go_into_a_no_go(policy, outcome, ladder, addition, seed):
    variant, method, kind = addition
    extra = outcome(variant, method, seed, kind, run_id="extra", trajectory_id=f"extra{seed}")
    assert decide(policy, ladder()).passed
    assert not decide(policy, [*ladder(), extra]).passed


@settings(deadline=None)
@given(evidence, st.randoms(use_true_random=False))
def test_order_of_the_summaries_does_not_matter(policy, outcome, found, random):
    runs = [outcome(*cell, kind) for cell, kind in found.items()]
    shuffled = list(runs)
    random.shuffle(shuffled)
    assert decide(policy, shuffled) == decide(policy, runs)


@settings(deadline=None)
@given(evidence | nearly_go.map(complete), st.permutations([0, 7, 41]))
def test_which_numbers_the_seeds_have_does_not_matter(policy, outcome, found, names):
    runs = [outcome(*cell, kind) for cell, kind in found.items()]
    renamed = [attrs.evolve(run, training=attrs.evolve(run.training, seed=names[run.training.seed])) for run in runs]
    before, after = decide(policy, runs), decide(policy, renamed)
    assert [(c.id, c.met, sorted(r.kind for r in c.reasons)) for c in after.criteria] == [
        (c.id, c.met, sorted(r.kind for r in c.reasons)) for c in before.criteria
    ]
    assert after.passed == before.passed


@settings(deadline=None)
@given(evidence)
def test_a_go_needs_two_stable_seeds_of_every_required_cell_and_their_company(policy, outcome, found):
    decision = decide(policy, [outcome(*cell, kind) for cell, kind in found.items()])
    seeds = {variant: {seed for v, _, seed in found if v == variant} for variant in VARIANTS}
    expected = all(
        len(seeds[variant]) >= 2
        and all(found.get((variant, "ema+qc", seed)) == "stable" for seed in seeds[variant])
        and all(
            found.get((variant, method, seed)) in ("stable", *FAULTS)
            for seed in seeds[variant]
            for method in ("baseline", "ema")
        )
        for variant in VARIANTS
    )
    assert decision.passed == expected
    assert decision.passed == all(criterion.met for criterion in decision.criteria)
    assert all(bool(criterion.reasons) != criterion.met for criterion in decision.criteria)
    assert all((criterion.satisfied_by is None) == criterion.met for criterion in decision.criteria)
