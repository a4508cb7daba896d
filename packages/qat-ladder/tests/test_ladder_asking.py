"""A request says of a run what the run's own record will say."""

import hashlib

from qat_ladder.asking import ask
from qat_ladder.layout import Root


def test_learned_scales_and_a_policy_of_ones_own_are_named_as_in_a_record(products, request_for, tmp_path):
    rules = tmp_path / "mine.toml"
    rules.write_text("[[rule]]\nbits = 'base'\n")
    settings = (f"quantization.policy={rules}", "quantization.scale_lr=2e-5")
    weights = tmp_path / "m.pt"
    weights.write_bytes(b"weights")
    request = request_for(variant="yolo10m", checkpoint=str(weights), settings=settings)
    found = ask(request.resolve("paper"), Root(tmp_path / "runs"), seeds=[0], fingerprint="").quantization
    assert (found.scale.learned, found.scale.lr, found.granularity) == (True, 2e-5, "per-tensor")
    assert found.policy == f"mine-{hashlib.sha256(rules.read_bytes()).hexdigest()[:12]}"
    (call,) = products.calls()
    assert call[call.index("--policy") + 1] == str(rules)
    fixed = ask(request.resolve("baseline"), Root(tmp_path / "runs"), seeds=[0], fingerprint="").quantization
    assert fixed.scale.lr is None
