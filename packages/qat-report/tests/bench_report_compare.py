"""A thousand summaries; the table's numbers in brackets are the ratio to parsing their JSON alone."""

import json

import pytest

from qat_report import compare, find_summaries

METHODS = ("baseline", "bn", "qc", "ema", "ema+bn", "ema+qc", "learned", "learned+ema", "dampening", "freezing")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory, write_row):
    """Two variants, ten methods, fifty seeds, twelve epochs."""
    root = tmp_path_factory.mktemp("bench")
    for variant in ("yolo10n", "yolo10s"):
        for place, method in enumerate(METHODS):
            for seed in range(50):
                history = [0.1 + 0.025 * epoch + 0.001 * ((7 * seed + 3 * place + epoch) % 11) for epoch in range(12)]
                row = {"variant": variant, "method": method, "seed": seed, "class": "stable", "history": history}
                write_row(root, row | ({"qc": history[-1]} if {"bn", "qc"} & set(method.split("+")) else {}))
    return root


@pytest.mark.benchmark(group="1,000 summaries")
def test_parse(benchmark, thousand):
    def parse():
        return [json.loads(path.read_bytes()) for path in find_summaries([thousand])]

    assert len(benchmark.pedantic(parse, rounds=3)) == 1000


@pytest.mark.benchmark(group="1,000 summaries")
def test_compare(benchmark, thousand):
    compared = benchmark.pedantic(lambda: compare([thousand], out=thousand), rounds=1)
    assert len(compared.rows) == 1000
