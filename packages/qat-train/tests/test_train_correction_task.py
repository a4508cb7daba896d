"""What the correction task offers beside loss and evaluation: a forward pass in the modes it finds."""

import torch
from torch import nn

from qat_train.correction_task import load


def test_a_forward_pass_in_evaluation_mode_reaches_every_batch_norm(make_spec, train):
    _, folder = train(make_spec())
    task = load(folder, "ema")
    batch, _ = next(iter(task.batches(seed=0)))
    norms = {name: m for name, m in task.model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    task.model.eval()
    with torch.no_grad():
        task.forward(batch)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    for norm in norms.values():
        norm.training = True
    with torch.no_grad():
        task.forward(batch)
    after = task.model.state_dict()
    assert {
        name for name in norms if not torch.equal(after[f"{name}.running_mean"], before[f"{name}.running_mean"])
    } == set(norms)
    changed = {name.rpartition(".")[2] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert all(m.training == (m in norms.values()) for m in task.model.modules())
    with_norm = {layer.batch_norm for layer in task.layers() if layer.batch_norm is not None}
    assert with_norm == set(norms)
