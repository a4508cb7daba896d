"""A torch module of the deployed network: what a runtime computes, rebuilt from the packed numbers alone."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv

from qat_train.detector import build_detector, reparameterise, set_head
from qat_train.errors import InputError
from qat_train.export.folding import deployed_convolutions
from qat_train.export.network import Layer, Network


@torch.no_grad()
def deploy(network: Network) -> Any:
    """A floating-point detector with the network's weights and biases: one2one head, no batch norm, eval mode.

    Raises:
        InputError: the architecture cannot be built, or its convolutions are not those of the network.
    """
    about = network.about
    try:
        model = build_detector(copy.deepcopy(about.architecture), about.names, about.class_width)
    except Exception as error:  # whatever a description from a file makes Ultralytics' parser raise
        raise InputError(f"{about.run_id}: the architecture cannot be built: {error!r}") from error
    reparameterise(model)
    if set_head(model) != "one2one":
        raise InputError(f"{about.run_id}: the architecture has no one2one head")
    model.model[-1].fuse()  # drops the one2many branches; no weight is touched
    found = dict(deployed_convolutions(model))
    layers = {layer.convolution.name: layer for layer in network.layers}
    if difference := sorted(found.keys() ^ layers.keys()):
        raise InputError(f"{about.run_id}: {difference[0]} is in the architecture or in the layers, not in both")
    for name, conv in found.items():
        _fill(conv, layers[name])
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, Conv):
            parent.bn = nn.Identity()
    return model.eval().requires_grad_(False)


def _fill(conv: nn.Conv2d, layer: Layer) -> None:
    own = layer.convolution
    geometry = (tuple(conv.weight.shape), conv.stride, conv.padding, conv.dilation, conv.groups)
    stated = (own.shape, own.stride, own.padding, own.dilation, own.groups)
    if geometry != stated:
        raise InputError(f"{own.name}: the layer is {stated}, the architecture has {geometry}")
    conv.weight.copy_(torch.tensor(layer.weight))
    conv.bias = None if layer.bias is None else nn.Parameter(torch.tensor(layer.bias))  # a copy


@contextlib.contextmanager
def kept_before_selection(head: Any) -> Iterator[list[Tensor]]:
    """While it lasts, what a head selects its best detections from is kept, call by call.

    Yields:
        a growing list of tensors (batch, anchors, 4 + classes): box sides in pixels, then class scores in [0, 1].
    """
    kept: list[Tensor] = []
    select = head.postprocess

    def keep(predictions: Tensor) -> Tensor:
        kept.append(predictions)
        selected: Tensor = select(predictions)
        return selected

    head.postprocess = keep
    try:
        yield kept
    finally:
        del head.postprocess
