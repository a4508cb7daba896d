"""A decision over a large root: 2 variants, 3 methods, 100 seeds."""

from qat_gate import decide


def test_decide_over_600_summaries(benchmark, policy, ladder):
    runs = ladder(range(100))
    assert benchmark(decide, policy, runs).passed
