"""Detectors of Ultralytics: load without running code, match classes by name, reparameterise, describe the graph."""

import copy
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import attrs
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules.block import DFL, RepVGGDW
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import DEFAULT_CFG_DICT

import qat_artifacts
from qat_train.errors import InputError, ResourceError
from qat_train.policy import Kind, Site
from qat_train.randomness import preserved_rng
from qat_train.unpickling import LAYERS, open_pt, reason_of

_MOST_REPEATS = 100  # of one line of an architecture; Ultralytics' own have 18 at most
_TORCH_LAYERS = {f"nn.{name}" for module in LAYERS if module.startswith("torch.nn.") for name in LAYERS[module]}
_EVALUATES = "this Ultralytics evaluates what a checkpoint says; install ultralytics>=8.4.190,<8.5"
_NOT_BUILT = (  # what its parser raises on an architecture that is none
    *(ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError),
)
SCRATCH = "scratch:"  # checkpoint "scratch:yolov10n" stands for random weights of that architecture


@attrs.frozen(kw_only=True)
class Detector:
    """A model with what its file says of it."""

    model: Any = attrs.field(repr=False)  # ultralytics DetectionModel, fp32, eval mode
    names: tuple[str, ...]
    sha256: str
    scale: str  # n, s, m, ... as the architecture file says, or ""
    imgsz: int | None

    @property
    def variant(self) -> str:
        """yolo10n, yolo10s, yolo10m, or "other"."""
        is_v10 = type(self.model.model[-1]).__name__ == "v10Detect"
        return f"yolo10{self.scale}" if is_v10 and self.scale in ("n", "s", "m") else "other"


def load_detector(checkpoint: str, *, seed: int = 0, trust: str | None = None) -> Detector:
    """Load an Ultralytics .pt without running its code, or build "scratch:<architecture>" from `seed`.

    Args:
        checkpoint: a file, or "scratch:<architecture>".
        seed: of random weights.
        trust: "sha256:<hex>" of a file whose code may run; see `qat_train.unpickling`.

    Raises:
        SpecError: `trust` is no hash.
        InputError: missing, unreadable, no detector, or holding anything but the allowed classes.
    """
    if checkpoint.startswith(SCRATCH):
        architecture = checkpoint.removeprefix(SCRATCH)
        torch.manual_seed(seed)
        try:
            model = tasks.DetectionModel(f"{architecture}.yaml", verbose=False)
            identity = hashlib.sha256(f"{checkpoint}/{seed}".encode()).hexdigest()
            return _describe(model, sha256=identity, imgsz=None)
        except FileNotFoundError as error:
            raise InputError(f"model.checkpoint: no architecture {architecture!r} in Ultralytics") from error
        except _NOT_BUILT as error:
            raise InputError(f"model.checkpoint: {checkpoint} is no detector: {reason_of(error)}") from error
    path = Path(checkpoint)
    if not path.is_file():
        raise InputError(f"model.checkpoint: {path} does not exist; give a .pt file, or put the weights there")
    opened = open_pt(path, trust)
    content = opened.content
    model = content.get("model") if content.get("ema") is None else content["ema"]
    if not isinstance(model, tasks.DetectionModel):
        raise InputError(f"model.checkpoint: {path} holds {type(model).__name__}, a DetectionModel is expected")
    if content.get("modelopt"):
        raise InputError(f"model.checkpoint: {path} is quantized already; start from floating-point weights")
    arguments = content.get("train_args")
    imgsz = arguments.get("imgsz") if isinstance(arguments, dict) else None
    try:
        model.criterion = None  # a loss of the file's making
        return _describe(model.float(), sha256=opened.sha256, imgsz=imgsz if isinstance(imgsz, int) else None)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"model.checkpoint: {path} holds no whole detector: {reason_of(error)}") from error


def _describe(model: Any, *, sha256: str, imgsz: int | None) -> Detector:
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
        if isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
            module.recompute_scale_factor = None  # files written by torch 1.10 lack it
    if not isinstance(model.yaml, dict) or not isinstance(model.names, dict | list):
        raise TypeError("yaml and names say what it is")
    if not (isinstance(model.model, nn.Sequential) and len(model.model) and isinstance(model.model[-1], Detect)):
        raise TypeError("its layers are a sequence that ends in Detect")
    head = type(model.model[-1]).__name__
    if head not in ("Detect", "v10Detect"):  # Segment, Pose and others of its subclasses predict more than boxes
        raise TypeError(f"its head is {head}, a detector's is Detect or v10Detect")
    indices = sorted(model.names) if isinstance(model.names, dict) else range(len(model.names))
    return Detector(
        model=model.eval(),
        names=tuple(str(model.names[i]) for i in indices),
        sha256=sha256,
        scale=str(model.yaml.get("scale", "")),
        imgsz=imgsz,
    )


def same_classes(checkpoint: Sequence[str], dataset: Sequence[str]) -> bool:
    """Whether both name the same set of classes; case and surrounding blanks do not count, nor does the order."""
    return {n.strip().lower() for n in checkpoint} == {n.strip().lower() for n in dataset} and len(checkpoint) == len(
        dataset
    )


def match_classes(
    detector: Detector, names: Sequence[str], *, rebuild: bool, seed: int = 0
) -> tuple[Any, Literal["by-name", "rebuilt"]]:
    """The model with its class outputs in the order of `names`, and how they were matched.

    Args:
        detector: of the checkpoint.
        names: of the data set's classes.
        rebuild: whether other classes may be asked for.
        seed: of the weights that are new then.

    Returns:
        (model, "by-name") when both sides name the same classes, in any order; (model, "rebuilt") otherwise: all other
        weights are kept, the class branches are new (their width depends on the class count) and need training.

    Raises:
        InputError: the names differ and `rebuild` is False.
    """
    if tuple(names) == detector.names:
        return copy.deepcopy(detector.model), "by-name"
    same = same_classes(detector.names, names)
    if not same and not rebuild:
        raise InputError(
            f"the checkpoint knows {len(detector.names)} classes ({_shown(detector.names)}), the data set "
            f"{len(names)} ({_shown(names)}); fine-tune it first: qat-train pretrain"
        )
    with preserved_rng():
        torch.manual_seed(seed)
        model = _construct(detector.model.yaml, len(names))
    model.names = dict(enumerate(names))  # set before loading: rows of the class branches are copied by name
    model.load(detector.model, verbose=False)
    return model, "by-name" if same else "rebuilt"


def class_width(model: Any) -> int:
    """Hidden channels of the class branches.

    A fresh model's follow from its class count; one that was loaded from weights for other classes keeps theirs.
    """
    width: int = model.model[-1].cv3[0][-1].in_channels
    return width


def build_detector(architecture: dict[str, Any], names: Sequence[str], width: int) -> Any:
    """An untrained detector for `names`, whose class branches are `width` channels wide, whatever its class count.

    Raises:
        InputError: the architecture cannot be built, or would run more than layers.
    """
    model = _construct(architecture, len(names))
    if class_width(model) != width:
        wide = _construct(architecture, width)
        for branch in ("cv3", "one2one_cv3"):
            if hasattr(model.model[-1], branch):
                for level in (source := getattr(wide.model[-1], branch)):
                    level[-1] = nn.Conv2d(level[-1].in_channels, len(names), 1)
                setattr(model.model[-1], branch, source)
    model.names = dict(enumerate(names))
    return model


def _construct(architecture: dict[str, Any], nc: int) -> Any:
    """A detector of an architecture that a file describes, for `nc` classes.

    Ultralytics looks layers up by name among all that its module has imported, and evaluates the text of an activation;
    here, names must be those of layers and the activation a plain call of one, whatever the environment says.
    """
    safe = getattr(tasks, "_SafeLoad", None)  # releases differ in what they have of it
    active = getattr(safe, "_local", None)
    if safe is None or active is None:
        raise ResourceError(_EVALUATES)
    was, active.active = getattr(active, "active", False), True
    try:
        if not safe.restricted():
            raise ResourceError(_EVALUATES)
        depths = [scale[0] for scale in (architecture.get("scales") or {}).values()]
        deepest = max(1, architecture.get("depth_multiple", 1), *depths)  # repeats are multiplied with one of these
        for _, repeats, layer, _ in (*architecture["backbone"], *architecture["head"]):
            if not _is_layer(layer):
                raise TypeError(f"{layer!r} is no layer of a detector")
            if not (isinstance(repeats, int) and repeats >= 1 and repeats * deepest <= _MOST_REPEATS):
                raise ValueError(f"{layer} {repeats!r} times; 1 to {_MOST_REPEATS} are allowed, with the scale's depth")
        return tasks.DetectionModel(copy.deepcopy(architecture), nc=nc, verbose=False)
    except _NOT_BUILT as error:
        raise InputError(f"the checkpoint's architecture cannot be built: {reason_of(error)}") from error
    finally:
        active.active = was


def _is_layer(name: object) -> bool:
    """Whether a line of an architecture names a layer: of torch, one that detectors hold; of Ultralytics, any block.

    Trusted files may be of other families, so its blocks are not only those of LAYERS. Whole models, which read files,
    are not among them: they are of ultralytics.nn.tasks. TorchVision downloads its weights.
    """
    if not isinstance(name, str) or name == "TorchVision":
        return False
    found = getattr(tasks, name, None)
    return name in _TORCH_LAYERS or (
        isinstance(found, type)
        and issubclass(found, nn.Module)
        and found.__module__.startswith("ultralytics.nn.modules.")
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def reparameterise(model: nn.Module) -> list[str]:
    """Merge the branches of every RepVGGDW into one biased 7x7 convolution; return their paths.

    It has to come before quantization: merged afterwards, the sum of two weights on the grid leaves the grid.
    Ultralytics' `fuse` replaces the weights only, so the forward method is switched here too.
    """
    merged = []
    for name, module in model.named_modules():
        if isinstance(module, RepVGGDW):
            module.fuse()
            module.forward = module.forward_fuse
            merged.append(name)
    return merged


def make_trainable(model: nn.Module) -> None:
    """Gradients on for every parameter but DFL's fixed ramp; reparameterised layers come without."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, DFL):
            module.conv.requires_grad_(False)


def with_training_arguments(model: Any) -> Any:
    """Give the model the hyperparameter namespace its loss reads."""
    model.args = SimpleNamespace(**DEFAULT_CFG_DICT)
    return model


def convolution_sites(model: nn.Module) -> list[Site]:
    """Every Conv2d with its places in the graph, found by type and structure, in the order of the modules.

    "stem" is the first convolution; "head" lies in a Detect module; "head-last" is the last convolution of one of its
    branches; "dfl" decodes the box distribution. Shares are of the weights of all of them.
    """
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d))
    head_last: set[str] = set()
    heads: list[str] = []
    dfl: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, Detect):
            heads.append(f"{name}.")
            for child_name, child in module.named_children():
                if isinstance(child, nn.ModuleList):
                    for i, branch in enumerate(child):
                        last = [n for n, m in branch.named_modules() if isinstance(m, nn.Conv2d)][-1:]
                        head_last.update(f"{name}.{child_name}.{i}.{n}" for n in last)
        if isinstance(module, DFL):
            dfl.update(f"{name}.{n}" for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
    sites: list[Site] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        places = {
            "stem": not sites,
            "head": name.startswith(tuple(heads)),
            "head-last": name in head_last,
            "dfl": name in dfl,
        }
        sites.append(
            Site(
                name=name,
                places=frozenset(k for k, found in places.items() if found),
                kind=conv_kind(module),
                share=module.weight.numel() / weights,
            )
        )
    return sites


def conv_kind(conv: nn.Conv2d) -> Kind:
    """Depthwise, pointwise (1x1) or dense."""
    if conv.groups == conv.in_channels and conv.groups > 1:
        return "depthwise"
    return "pointwise" if conv.kernel_size == (1, 1) else "dense"


def norm_after(model: nn.Module, name: str) -> nn.BatchNorm2d | None:
    """The batch norm that reads a convolution's output: Ultralytics' Conv holds both, as `conv` and `bn`."""
    parent = model.get_submodule(name.rpartition(".")[0])
    norm = getattr(parent, "bn", None) if isinstance(parent, Conv) else None
    return norm if isinstance(norm, nn.BatchNorm2d) else None


def set_head(model: Any, *, one2one: bool = True) -> str:
    """Choose the head that inference uses; return the name of the one that is used.

    YOLOv10's product is its NMS-free one2one head: it is the one evaluated and exported. Detectors without one use
    their only head, with NMS.
    """
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is None:
        return "one2many"
    head.end2end = one2one
    return "one2one" if head.end2end else "one2many"


def save_pt(model: Any, path: Path, *, train_arguments: dict[str, Any]) -> None:
    """Write a floating-point checkpoint in fp16 that Ultralytics and `load_detector` read."""
    model = copy.deepcopy(model).half()
    model.criterion = None
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    buffer = io.BytesIO()
    torch.save({"model": model, "ema": None, "train_args": train_arguments, "license": "AGPL-3.0"}, buffer)
    qat_artifacts.write_bytes(path, buffer.getvalue())
