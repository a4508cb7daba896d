"""export.json: what was exported, and how far the files agree with what was trained."""

from typing import ClassVar, Literal

import attrs
from attrs import validators

from qat_train.export.network import Storage
from qat_train.places import inside
from qat_train.run import Evaluation

THRESHOLD = 0.05  # score from which on a detection is compared

_count = validators.ge(0)
_positive = validators.gt(0)


@attrs.frozen(kw_only=True)
class Tolerances:
    """How far files may be from the trained model: far above rounding, far below what a detection is used for."""

    box_px: float = 0.05
    score: float = 1e-3
    map50_95: float = 1e-3


@attrs.frozen(kw_only=True)
class ExportedLayer:
    """One convolution of the deployed network. `negative_scales`: channels whose batch norm turns the sign."""

    name: str
    bits: int | None
    storage: Storage
    weights: int = attrs.field(validator=_count)
    negative_scales: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Codes:
    """Weights with a code, and how many of their codes each file holds unchanged, read back from the disk."""

    weights: int = attrs.field(validator=_positive)
    equal_packed: int = attrs.field(validator=_count)
    equal_onnx: int = attrs.field(validator=_count)

    @property
    def all_equal(self) -> bool:
        """Whether both files hold the trained codes."""
        return self.equal_packed == self.equal_onnx == self.weights


@attrs.frozen(kw_only=True)
class Agreement:
    """Outputs of ONNX Runtime against the fake-quantized model's, on the same letterboxed images.

    Attributes:
        images: how many.
        detections: pairs of anchor and class whose score is above `threshold` in one of the two.
        threshold: in [0, 1].
        box_error_px: largest difference of a box side of these, in pixels of the letterboxed image.
        score_error: largest difference of their scores.
        box_error_px_anywhere: of all anchors; `score_error_anywhere` likewise.
        reselected: rows above the threshold that the graph's selection of the best detections has and the same
            selection made by torch of the graph's own scores has not, or the other way round. Order does not count.
    """

    images: int = attrs.field(validator=_positive)
    detections: int = attrs.field(validator=_count)
    threshold: float
    box_error_px: float = attrs.field(validator=_count)
    score_error: float = attrs.field(validator=_count)
    box_error_px_anywhere: float = attrs.field(validator=_count)
    score_error_anywhere: float = attrs.field(validator=_count)
    reselected: int = attrs.field(validator=_count)


@attrs.frozen(kw_only=True)
class Accuracy:
    """The validation split by the run's evaluator: detections of torch and of ONNX Runtime."""

    torch: Evaluation
    onnx: Evaluation

    @property
    def difference(self) -> float:
        """|mAP50-95 of one - of the other|."""
        return abs(self.torch.map50_95 - self.onnx.map50_95)


@attrs.frozen(kw_only=True)
class Sizes:
    """Bytes. The other ONNX files hold the same graph: fp32 and fp16 in floating point, int8 every code in a byte."""

    packed: int = attrs.field(validator=_positive)
    onnx_int4: int = attrs.field(validator=_positive)
    onnx_int8: int = attrs.field(validator=_positive)
    onnx_fp16: int = attrs.field(validator=_positive)
    onnx_fp32: int = attrs.field(validator=_positive)


@attrs.frozen(kw_only=True)
class Latency:
    """Medians over interleaved calls of ONNX Runtime on the CPU, one image at a time, in milliseconds.

    `int4_folded_ms`: with session.disable_quant_qdq=1, which computes the weights once, at loading.
    """

    imgsz: int
    threads: int = attrs.field(validator=_positive)
    calls: int = attrs.field(validator=_positive)
    fp32_ms: float = attrs.field(validator=_positive)
    int4_ms: float = attrs.field(validator=_positive)
    int4_folded_ms: float = attrs.field(validator=_positive)


@attrs.frozen(kw_only=True)
class Files:
    """Names beside export.json."""

    packed: str = attrs.field(default="model.safetensors", validator=inside)
    onnx: str = attrs.field(default="model.onnx", validator=inside)
    detections: str = attrs.field(default="detections.json", validator=inside)
    detections_torch: str = attrs.field(default="detections-torch.json", validator=inside)


@attrs.frozen(kw_only=True)
class Pictures:
    """What is drawn in `file`: a row for each image, detections of the starting checkpoint left, of the export right.

    Attributes:
        file: name beside export.json.
        images: names of the images in the prepared data set, from top to bottom: its first ones with objects.
        confidence: lowest score that is drawn, in [0, 1].
        fp32: objects found in each image by the floating-point checkpoint that the run started from.
        int4: likewise by the exported ONNX file.
    """

    file: str
    images: tuple[str, ...] = attrs.field(validator=validators.min_len(1))
    confidence: float = attrs.field(validator=[validators.ge(0), validators.le(1)])
    fp32: tuple[int, ...] = attrs.field(validator=validators.deep_iterable(_count))
    int4: tuple[int, ...] = attrs.field(validator=validators.deep_iterable(_count))

    def __attrs_post_init__(self) -> None:
        if not len(self.images) == len(self.fp32) == len(self.int4):
            raise ValueError(f"{len(self.images)} images, {len(self.fp32)} and {len(self.int4)} counts")


@attrs.frozen(kw_only=True)
class Export:
    """The artifact qat-train/export. `dropped_layers` serve training alone (one2many branches).

    `proven`: every code is kept, every detection selected, and every tolerance. `pictures` (since 1.1) is None where
    the checkpoint that the run started from could not be set beside the export.
    """

    SCHEMA: ClassVar[str] = "qat-train/export"
    VERSION: ClassVar[str] = "1.1"

    run_id: str
    method: str
    series: Literal["raw", "ema", "corrected"]
    weights_sha256: str
    variant: str
    names: tuple[str, ...]
    imgsz: int
    head: Literal["one2one"]
    opset: int
    quantization_mode: str
    granularity: Literal["per-channel", "per-tensor"]
    dataset_fingerprint: str
    layers: tuple[ExportedLayer, ...]
    dropped_layers: int = attrs.field(validator=_count)
    files: Files
    files_sha256: dict[str, str]
    codes: Codes
    agreement: Agreement
    accuracy: Accuracy
    tolerances: Tolerances = attrs.field(factory=Tolerances)
    proven: bool
    sizes: Sizes
    latency: Latency | None
    pictures: Pictures | None = None
    versions: dict[str, str]
    seconds: float

    def __attrs_post_init__(self) -> None:
        found = faults(self.codes, self.agreement, self.accuracy, self.tolerances)
        if self.proven == bool(found):
            raise ValueError(f"proven is {self.proven}: {'; '.join(found) or 'nothing speaks against it'}")


def faults(codes: Codes, agreement: Agreement, accuracy: Accuracy, tolerances: Tolerances) -> tuple[str, ...]:
    """What speaks against an export, as text; nothing where it is proven."""
    found = []
    if not codes.all_equal:
        kept = f"{codes.equal_packed} packed, {codes.equal_onnx} in ONNX"
        found.append(f"codes: of {codes.weights} only {kept} are the trained ones")
    for what, value, limit in (
        ("boxes, px", agreement.box_error_px, tolerances.box_px),
        ("scores", agreement.score_error, tolerances.score),
        ("mAP50-95", accuracy.difference, tolerances.map50_95),
    ):
        if value > limit:
            found.append(f"{what}: differ by {value:.3g}, {limit:g} is allowed")
    if agreement.reselected:
        found.append(f"selection: {agreement.reselected} detections are not those of torch")
    return tuple(found)


def describe(record: Export) -> str:
    """The proof and the sizes as text."""
    sizes, agreement, accuracy = record.sizes, record.agreement, record.accuracy
    kinds = {kind: [layer for layer in record.layers if layer.storage == kind] for kind in ("int4", "int8", "float32")}
    lines = [
        f"{record.run_id}, {record.method} ({record.series} weights), {record.quantization_mode}, head {record.head}",
        "layers: "
        + ", ".join(f"{len(v)} {k} ({sum(layer.weights for layer in v)} weights)" for k, v in kinds.items() if v),
        f"larger than 4 bits: {', '.join(layer.name for layer in record.layers if layer.storage != 'int4') or 'none'}",
        f"codes: {record.codes.equal_onnx} of {record.codes.weights} in ONNX, {record.codes.equal_packed} packed are "
        "the trained ones",
        f"{agreement.images} images, {agreement.detections} detections above {agreement.threshold}: boxes within "
        f"{agreement.box_error_px:.2g} px, scores within {agreement.score_error:.2g}",
        f"mAP50-95: torch {accuracy.torch.map50_95:.6f}, ONNX {accuracy.onnx.map50_95:.6f}",
        f"bytes: packed {sizes.packed} (1/{sizes.onnx_fp32 / sizes.packed:.2f} of FP32), ONNX INT4 {sizes.onnx_int4} "
        f"(1/{sizes.onnx_fp32 / sizes.onnx_int4:.2f}), INT8 {sizes.onnx_int8}, FP16 {sizes.onnx_fp16}, "
        f"FP32 {sizes.onnx_fp32}",
    ]
    if (pictures := record.pictures) is not None:
        lines.append(
            f"{pictures.file}: {len(pictures.images)} images, {sum(pictures.fp32)} objects in FP32 and "
            f"{sum(pictures.int4)} in INT4 from {pictures.confidence} on"
        )
    if negative := sum(layer.negative_scales for layer in record.layers):
        lines.append(f"{negative} channels have a negative scale: a runtime that demands positive ones refuses them")
    if (latency := record.latency) is not None:
        lines.append(
            f"latency, {latency.threads} threads, {latency.imgsz} px: FP32 {latency.fp32_ms:.1f} ms, INT4 "
            f"{latency.int4_ms / latency.fp32_ms:.2f} times that, with disable_quant_qdq "
            f"{latency.int4_folded_ms / latency.fp32_ms:.2f} times"
        )
    return "\n".join(lines)
