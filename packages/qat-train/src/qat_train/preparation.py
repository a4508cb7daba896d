"""From a specification to a model that is ready to train: data, detector, policy, evaluator, references."""

import copy
import functools
import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from ultralytics.utils.torch_utils import select_device

import qat_artifacts
from qat_train import ranks
from qat_train.calibration import IMAGES, calibrate
from qat_train.dataset import PreparedData, read_data
from qat_train.detector import (
    Detector,
    convolution_sites,
    load_detector,
    make_trainable,
    match_classes,
    reparameterise,
    set_head,
    with_training_arguments,
)
from qat_train.environment import use_threads
from qat_train.errors import InputError, ResourceError, SpecError
from qat_train.evaluator import Evaluator, calibration_images
from qat_train.insertion import (
    assert_on_grid,
    describe_layers,
    initialise_scales,
    insert_quantizers,
    learn_scales,
    scale_parameters,
)
from qat_train.interventions.teacher import TAUGHT
from qat_train.peers import Peer, assert_peer_on_grid, load_peer
from qat_train.policy import assign_bits, load_policy
from qat_train.references import ReferenceKey, find_references, store_references
from qat_train.run import EvaluationBlock, QuantizationBlock, References, ScaleBlock
from qat_train.spec import RunSpec

logger = logging.getLogger(__name__)

PEER_BATCHES = 8  # of training images, for a library that looks at activations


@attrs.frozen(kw_only=True)
class Prepared:
    """Everything a run needs before its first step. `model` is floating point still; `quantize` changes that."""

    spec: RunSpec
    data: PreparedData
    detector: Detector
    model: Any
    class_match: Literal["by-name", "rebuilt"]
    bits: dict[str, int | None]
    quantization: QuantizationBlock
    evaluator: Evaluator
    evaluation: EvaluationBlock
    device: torch.device
    peer: Peer | None  # whose quantizers they are, where they are not ours

    def quantize(self, model: Any) -> None:
        """Insert quantizers into `model` and set where it starts: scales, and with "gptq" weights and batch norms too.

        Nothing in a floating-point run. A start by images depends on the machine and its threads as sums do.
        """
        if self.peer is not None:
            images = functools.partial(self._calibration_images, PEER_BATCHES * self.spec.training.batch)
            self.peer.insert(model, self.bits, self.spec.quantization, images)
        elif self.quantization.quantized_layers:
            insert_quantizers(model, self.bits, self.spec.quantization.granularity)
            init = self.spec.quantization.init
            if init in ("outputs", "gptq"):
                calibrate(model, self._calibration_images(IMAGES), move_weights=init == "gptq")
            else:
                initialise_scales(model, init)
            if self.spec.quantization.learned:
                learn_scales(model)

    def guard(self, model: Any) -> None:
        """Raise OffGrid where `model` does not use its quantized weights."""
        self.evaluator.guard(model, self.quantization.quantized_layers)

    def scale_parameters(self, model: Any) -> list[nn.Parameter]:
        """Learned scales of a quantized model."""
        return scale_parameters(model) if self.peer is None else self.peer.scales(model)

    def _calibration_images(self, count: int) -> Iterable[Tensor]:
        training = self.spec.training
        return calibration_images(
            self.data.yaml, imgsz=training.imgsz, batch=training.batch, device=self.device, images=count
        )


def prepare(spec: RunSpec, *, folder: Path, threads: int, pretrain: bool = False) -> Prepared:
    """Load and check everything, in the order that keeps reparameterised layers on the grid.

    Args:
        spec: what to run.
        folder: where Ultralytics may write.
        threads: CPU threads for torch.
        pretrain: classes may differ from the checkpoint's, and RepVGGDW keeps its branches.
    """
    data = read_data(spec.data.dataset)
    device = choose_device(ranks.own_device(spec.training.device))
    detector = load_detector(spec.model.checkpoint, seed=spec.run.seed, trust=spec.model.trust_checkpoint or None)
    if spec.model.variant != detector.variant:
        raise InputError(
            f"model.checkpoint = {spec.model.checkpoint!r} holds {detector.variant}, model.variant asks for "
            f"{spec.model.variant}; give the right file, or the variant that it holds"
        )
    model, class_match = match_classes(detector, data.names, rebuild=pretrain, seed=spec.run.seed)
    with_training_arguments(model)
    if not pretrain:
        reparameterise(model)
    make_trainable(model)
    model.to(device)
    peer = _peer(spec)
    evaluator = Evaluator(
        data.yaml,
        imgsz=spec.training.imgsz,
        batch=2 * spec.training.batch // ranks.world_size(),
        device=device,
        folder=folder,
        guard=assert_on_grid if peer is None else functools.partial(assert_peer_on_grid, peer),
    )
    require_all_images("validation", evaluator.images, data.view.val.images, data.path)
    use_threads(threads)
    bits, quantization = _plan_quantization(spec, model, peer)
    return Prepared(
        spec=spec,
        data=data,
        detector=detector,
        model=model,
        class_match=class_match,
        bits=bits,
        quantization=quantization,
        evaluator=evaluator,
        evaluation=evaluator.describe(set_head(model)),
        device=device,
        peer=peer,
    )


def _peer(spec: RunSpec) -> Peer | None:
    """The peer that the specification asks for, after a look at the keys it is given.

    Raises:
        SpecError: a key that the library has no counterpart of, or an intervention that needs our codes.
        ResourceError: the library is not installed.
    """
    key = spec.quantization
    if key.quantizer == "qat-train":
        return None
    if refused := sorted(set(spec.interventions) - TAUGHT - {"frozen_norms"}):  # these do not look at codes
        raise SpecError(f"[interventions] {', '.join(refused)}: needs quantization.quantizer = 'qat-train'")
    peer = load_peer(key.quantizer)
    peer.check(key)
    return peer


def require_all_images(split: str, found: int, listed: int, dataset: Path) -> None:
    """Refuse a loader that left images out: Ultralytics drops what it cannot read, and says so in its log alone.

    Raises:
        InputError: the text names the data set and both numbers.
    """
    if found != listed:
        raise InputError(
            f"{dataset}: only {found} of {listed} {split} images can be loaded (the log above names the others); "
            "prepare the data set again: qat-data prepare"
        )


def choose_device(name: str) -> torch.device:
    """Resolve "auto", "cpu" or a CUDA index.

    Raises:
        SpecError: several devices, which training alone takes.
        ResourceError: the device is not there.
    """
    if "," in name:
        raise SpecError(f"device {name!r}: one is needed here; several are for qat-train run and pretrain")
    if name == "auto":
        name = "0" if torch.cuda.is_available() else "cpu"
    try:
        device: torch.device = select_device(name, verbose=False)
    except ValueError as error:
        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise ResourceError(
            f"training.device = {name!r} is not there: torch sees {available} CUDA devices; use cpu, or auto"
        ) from error
    return device


def _plan_quantization(spec: RunSpec, model: Any, peer: Peer | None) -> tuple[dict[str, int | None], QuantizationBlock]:
    key = spec.quantization
    bits: dict[str, int | None] = {}
    own_choice = peer is not None and peer.choose is not None
    if peer is not None and peer.choose is not None:
        bits = peer.choose(model)
    elif key.enabled:
        bits = assign_bits(load_policy(key.policy), convolution_sites(model), key.bits)
        if not any(bits.values()):
            raise SpecError(f"quantization.policy = {key.policy!r} quantizes no layer of this model")
    activations = peer.activation_bits if peer is not None else None
    block = QuantizationBlock(
        mode=f"w{key.bits}a{activations or 16}" if key.enabled else "fp32",
        library=("nvidia-modelopt" if peer is None else peer.library) if key.enabled else "none",
        weight_bit_width=key.bits if key.enabled else None,
        activation_bit_width=activations,
        granularity=key.granularity,
        scale=ScaleBlock(init=key.init, learned=key.learned, lr=key.scale_lr if key.learned else None),
        policy="the library's own" if own_choice else policy_label(key.policy) if key.enabled else "none",
        layers=describe_layers(model, bits),
    )
    return bits, block


def policy_label(policy: str) -> str:
    """Name of a policy in records: that of a shipped one; stem and hash of a file, whose content may change."""
    path = Path(policy)
    return f"{path.stem}-{qat_artifacts.sha256_file(path)[:12]}" if path.suffix == ".toml" else policy


def measure_references(prepared: Prepared) -> References:
    """FP32 and PTQ of the starting checkpoint: from the cache, or measured now with the run's own evaluator."""
    spec = prepared.spec
    folder = Path(spec.references.directory) if spec.references.directory else None
    # Neither reference is trained: whether scales are learned afterwards does not change it.
    fixed = attrs.evolve(prepared.quantization.scale, learned=False, lr=None)
    described = qat_artifacts.dumps(qat_artifacts.unstructure(attrs.evolve(prepared.quantization, scale=fixed)))
    key = ReferenceKey(
        checkpoint_sha256=prepared.detector.sha256,
        dataset_fingerprint=prepared.data.view.fingerprint,
        imgsz=spec.training.imgsz,
        quantization=hashlib.sha256(described.encode()).hexdigest(),
        evaluator=prepared.evaluation.evaluator,
        head=prepared.evaluation.head,
    )
    if (known := find_references(folder, key)) is not None:
        return known
    fp32 = prepared.evaluator(prepared.model, quantized_layers=0)
    ptq = None
    if spec.quantization.enabled:
        quantized = copy.deepcopy(prepared.model)
        prepared.quantize(quantized)
        ptq = prepared.evaluator(quantized, quantized_layers=prepared.quantization.quantized_layers)
    logger.info("references: FP32 %.4f, PTQ %s", fp32.map50_95, f"{ptq.map50_95:.4f}" if ptq else "none")
    return store_references(folder, key, References(fp32=fp32, ptq=ptq))
