"""The whole export: checkpoint, fold, packed file, ONNX file, proof, record."""

import importlib.metadata
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

import qat_artifacts
from qat_train.checkpoint import Checkpoint, load_checkpoint
from qat_train.dataset import PreparedData, read_data
from qat_train.detector import class_width
from qat_train.environment import use_threads, versions
from qat_train.errors import InputError, NotProven
from qat_train.evaluator import hash_weights
from qat_train.export.coco_results import coco_results, read_identifiers
from qat_train.export.detections import ImageDetections, detect_with_both, score
from qat_train.export.folding import fold_detector
from qat_train.export.graph import OPSET, checked_bytes, trace, with_weights
from qat_train.export.latency import measure_latency
from qat_train.export.network import About, Network
from qat_train.export.packed import read_packed, write_packed
from qat_train.export.parity import compare_codes, stored_weights
from qat_train.export.pictures import write_pictures
from qat_train.export.record import Accuracy, Export, ExportedLayer, Files, Pictures, Sizes, Tolerances, faults
from qat_train.export.reference import comparable_model, starting_detector
from qat_train.export.source import Source, find_source
from qat_train.preparation import require_all_images
from qat_train.run import Run, Series

logger = logging.getLogger(__name__)


def export_run(
    run_dir: Path,
    out: Path,
    *,
    method: str,
    series: Series | None,
    qc: Path | None,
    dataset: Path | None,
    benchmark: bool,
    threads: int,
    trust: str | None = None,
) -> Export:
    """Write packed checkpoint, ONNX file, detections, pictures and export.json into `out`; the record comes last.

    Args:
        run_dir: folder of a completed run.
        out: where the files go; those of an earlier export are replaced.
        method: which row of the comparison, see `find_source`.
        series: as there.
        qc: as there.
        dataset: where the run's prepared data lies now; where it lay then, without.
        benchmark: measure latency too.
        threads: CPU threads for torch and ONNX Runtime.
        trust: "sha256:<hex>" of a checkpoint whose code may run, to draw the pictures of the run's start.

    Raises:
        SpecError, InputError, OffGrid: before anything is written.
        NotProven: a tolerance is not kept; export.json is written and says which.
    """
    started = time.monotonic()
    source = find_source(run_dir, method=method, series=series, qc=qc)
    data = _data(source, dataset)
    identifiers = read_identifiers(data)
    model, checkpoint = load_checkpoint(source.checkpoint, source.series)
    use_threads(threads)
    about = _describe_network(model, checkpoint, source, method)
    quantization = checkpoint.quantization
    folded = fold_detector(model, about, quantized_layers=quantization.quantized_layers)
    out.mkdir(parents=True, exist_ok=True)
    (out / "export.json").unlink(missing_ok=True)  # it must not vouch for other files
    files = Files()
    written = _write_files(folded, out, files)
    graph = onnx.load(out / files.onnx)
    codes = compare_codes(model, written.network, stored_weights(graph))
    agreement, images = detect_with_both(
        model,
        graph,
        data.yaml,
        imgsz=about.imgsz,
        max_det=about.max_det,
        quantized_layers=quantization.quantized_layers,
        threads=threads,
    )
    require_all_images("validation", len(images), data.view.val.images, data.path)
    for name, results in (
        (files.detections, coco_results(images, "onnx", identifiers, imgsz=about.imgsz)),
        (files.detections_torch, coco_results(images, "torch", identifiers, imgsz=about.imgsz)),
    ):
        qat_artifacts.write_text(out / name, json.dumps(results, allow_nan=False) + "\n")
    pictures = _pictures(
        out / "pictures.jpg", source.run, images, order=tuple(identifiers.images), about=about, data=data, trust=trust
    )
    written_names = (*attrs.astuple(files), *([pictures.file] if pictures else []))
    hashes = {name: qat_artifacts.sha256_file(out / name) for name in written_names}
    accuracy = Accuracy(
        torch=score(images, "torch", about, data.yaml, sha256=about.weights_sha256),
        onnx=score(images, "onnx", about, data.yaml, sha256=hashes[files.onnx]),
    )
    tolerances = Tolerances()
    against = faults(codes, agreement, accuracy, tolerances)
    latency = measure_latency(written.fp32, written.int4, imgsz=about.imgsz, threads=threads) if benchmark else None
    record = Export(
        run_id=about.run_id,
        method=method,
        series=source.series,
        weights_sha256=about.weights_sha256,
        variant=about.variant,
        names=about.names,
        imgsz=about.imgsz,
        head=about.head,
        opset=OPSET,
        quantization_mode=quantization.mode,
        granularity=quantization.granularity,
        dataset_fingerprint=data.view.fingerprint,
        layers=_describe_layers(written.network),
        dropped_layers=sum(isinstance(m, nn.Conv2d) for m in model.modules()) - len(written.network.layers),
        files=files,
        files_sha256=hashes,
        codes=codes,
        agreement=agreement,
        accuracy=accuracy,
        tolerances=tolerances,
        proven=not against,
        sizes=_sizes(written, out / files.packed),
        latency=latency,
        pictures=pictures,
        versions=versions("onnx", "onnxruntime", "safetensors"),
        seconds=time.monotonic() - started,
    )
    qat_artifacts.write(out / "export.json", record, inputs=[*source.inputs, source.checkpoint, data.path])
    if against:
        raise NotProven(f"{out}: the exported model is not the trained one: {'; '.join(against)}")
    return record


def _data(source: Source, dataset: Path | None) -> PreparedData:
    """The prepared data of the run, where it lies now.

    Raises:
        InputError: it is gone, or other data.
    """
    recorded = Path(source.run.dataset.dataset_yaml).parent
    if dataset is None and not (recorded / "dataset.json").is_file():
        raise InputError(f"{recorded}: the run's data set is gone; give the folder where it lies now with --dataset")
    data = read_data(str(dataset or recorded))
    if data.view.fingerprint != source.run.dataset.fingerprint:
        raise InputError(
            f"{data.path}: data set {data.view.fingerprint[:12]}, the run used {source.run.dataset.fingerprint[:12]}"
        )
    return data


def _pictures(
    path: Path,
    run: Run,
    images: Sequence[ImageDetections],
    *,
    order: Sequence[str],
    about: About,
    data: PreparedData,
    trust: str | None,
) -> Pictures | None:
    """Both sides drawn; None, with a warning, where the floating-point side is not to be had: it is no proof."""
    path.unlink(missing_ok=True)  # that of an earlier export
    try:
        start = starting_detector(run, trust)
        start = comparable_model(start, run.model.checkpoint, about.names, max_det=about.max_det)
        return write_pictures(path, start, images, order=order, about=about, data_yaml=data.yaml)
    except InputError as error:
        logger.warning("no %s: %s", path.name, error)
        return None


def _describe_network(model: Any, checkpoint: Checkpoint, source: Source, method: str) -> About:
    """What the files say of the network.

    Raises:
        InputError: the weights are not those that the checkpoint's record names.
    """
    weights_sha256 = hash_weights(model)
    if weights_sha256 != checkpoint.weights_sha256[source.series]:
        raise InputError(f"{source.checkpoint}: the weights hash to {weights_sha256}, the record says otherwise")
    return About(
        run_id=checkpoint.run_id,
        method=method,
        weights_sha256=weights_sha256,
        variant=checkpoint.variant,
        names=checkpoint.names,
        imgsz=checkpoint.imgsz,
        head="one2one",
        max_det=source.run.evaluation.max_det,
        class_width=class_width(model),
        architecture=checkpoint.architecture,
    )


@attrs.frozen(kw_only=True, eq=False)
class _Written:
    """The network as the packed file gives it back, its traced graph, and that graph with its weights, serialised."""

    network: Network
    traced: onnx.ModelProto
    int4: bytes
    fp32: bytes


def _write_files(folded: Network, out: Path, files: Files) -> _Written:
    """The packed file, and the ONNX file made from what was read back: what the packed one lacks would show."""
    write_packed(out / files.packed, folded, created_by=f"qat-train {importlib.metadata.version('qat-train')}")
    network = read_packed(out / files.packed)
    logger.info("packed: %s", out / files.packed)
    traced = trace(network, imgsz=network.about.imgsz)
    int4, fp32 = (checked_bytes(with_weights(traced, network, kind)) for kind in ("as trained", "float32"))
    qat_artifacts.write_bytes(out / files.onnx, int4)
    logger.info("ONNX: %s", out / files.onnx)
    return _Written(network=network, traced=traced, int4=int4, fp32=fp32)


def _sizes(written: _Written, packed: Path) -> Sizes:
    fp16 = convert_float_to_float16(onnx.load_from_string(written.fp32), keep_io_types=True)
    return Sizes(
        packed=packed.stat().st_size,
        onnx_int4=len(written.int4),
        onnx_int8=len(checked_bytes(with_weights(written.traced, written.network, "int8"))),
        onnx_fp16=len(fp16.SerializeToString()),
        onnx_fp32=len(written.fp32),
    )


def _describe_layers(network: Network) -> tuple[ExportedLayer, ...]:
    return tuple(
        ExportedLayer(
            name=layer.convolution.name,
            bits=layer.convolution.bits,
            storage=layer.convolution.storage,
            weights=layer.convolution.elements,
            negative_scales=0 if layer.scale is None else int((layer.scale < 0).sum()),
        )
        for layer in network.layers
    )
