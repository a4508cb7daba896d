"""What tests of the export share: commands in this process, and detectors whose export is hard to get right (random,
with negative batch norm weights, of any width).
"""

import torch

import qat_artifacts
from qat_train.cli import FAILURES, cli
from qat_train.detector import (
    class_width,
    convolution_sites,
    load_detector,
    make_trainable,
    reparameterise,
    with_training_arguments,
)
from qat_train.export.network import About
from qat_train.insertion import initialise_scales, insert_quantizers
from qat_train.policy import assign_bits, load_policy


def make_detector(*, bits=4, policy="default", granularity="per-channel", architecture="yolov10n", floating=(), seed=0):
    """A quantized detector with random statistics and batch norm weights of both signs, and its quantized layers.

    `floating`: layers that stay in floating point beside those of the policy.
    """
    model = load_detector(f"scratch:{architecture}", seed=seed).model
    with_training_arguments(model)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(-1.2, 1.2, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
    settle_statistics(model, torch.rand(8, 3, 64, 64, generator=generator))
    for level in getattr(model.model[-1], "one2one_cv3", ()):
        level[-1].bias.data.uniform_(-4.0, 0.0, generator=generator)  # scores worth comparing
    reparameterise(model)
    make_trainable(model)
    widths = assign_bits(load_policy(policy), convolution_sites(model), bits)
    widths |= dict.fromkeys(floating)
    insert_quantizers(model, widths, granularity)
    initialise_scales(model, "mse")
    return model.eval(), sum(width is not None for width in widths.values())


@torch.no_grad()
def settle_statistics(model, images):
    """Batch norm statistics of these images: without them the signal of random weights dies on its way, and the output
    of a whole network says nothing about its layers.
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(images)
    for norm in norms:
        norm.momentum = 0.03
    model.eval()


def describe(model):
    """What an export says of such a detector."""
    return About(
        run_id="tiny/seed0",
        method="ema",
        weights_sha256="0" * 64,
        variant="yolo10n",
        names=tuple(model.names.values()),
        imgsz=64,
        head="one2one",
        max_det=300,
        class_width=class_width(model),
        architecture=model.yaml,
    )


def command(*arguments):
    """Exit code of a command in this process."""
    return qat_artifacts.run_command(lambda: cli.main([*map(str, arguments)], standalone_mode=False), FAILURES)
