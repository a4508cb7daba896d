"""Other libraries' weight quantizers in our recipe, as rows to compare with: one module a library, a `PEER` in each.

`[quantization] quantizer = "brevitas"` of a specification chooses one. Data, steps, optimizer, average, evaluator and
layer policy stay the run's own; what differs is how a weight is quantized and what gradient reaches it. A peer's
checkpoint is a record: Quantization Correction, audit and export work on our own grid alone.
"""

import importlib

from qat_train.errors import ResourceError
from qat_train.peers.base import Peer, QuantizedWeight, assert_peer_on_grid

__all__ = ["Peer", "QuantizedWeight", "assert_peer_on_grid", "load_peer"]


def load_peer(name: str) -> Peer:
    """The peer of a name of `QuantizationKey.quantizer`; its library is imported now.

    Raises:
        ResourceError: the library is not installed; the text has the command.
    """
    try:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    except ImportError as error:
        raise ResourceError(
            f"quantization.quantizer = {name!r}: {error}; install the peers with pip install 'qat-train[bench]'"
        ) from error
    peer: Peer = module.PEER
    return peer
