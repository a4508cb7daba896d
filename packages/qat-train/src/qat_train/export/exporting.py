"""The whole export: checkpoint, fold, packed file, ONNX file, proof, record."""

import importlib.metadata
import json
import logging
import time
from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

import qat_artifacts
from qat_train.checkpoint import load_checkpoint
from qat_train.dataset import PreparedData, read_data
from qat_train.detector import class_width
from qat_train.environment import use_threads, versions
from qat_train.errors import InputError, NotProven
from qat_train.evaluator import hash_weights
from qat_train.export.coco_results import coco_results, read_identifiers
from qat_train.export.detections import detect_with_both, score
from qat_train.export.folding import deployed_convolutions, fold_detector
from qat_train.export.graph import OPSET, checked_bytes, trace, with_weights
from qat_train.export.latency import measure_latency
from qat_train.export.network import About, Network
from qat_train.export.packed import read_packed, write_packed
from qat_train.export.parity import compare_codes, stored_weights
from qat_train.export.record import Accuracy, Export, ExportedLayer, Files, Sizes, Tolerances, faults
from qat_train.export.source import Source, find_source
from qat_train.preparation import require_all_images
from qat_train.run import Series

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
) -> Export:
    """Write the packed checkpoint, the ONNX file, detections and export.json into `out`; the record comes last.

    Args:
        run_dir: folder of a completed run.
        out: where the files go; those of an earlier export are replaced.
        method: which row of the comparison, see `find_source`.
        series: as there.
        qc: as there.
        dataset: where the run's prepared data lies now; where it lay then, without.
        benchmark: measure latency too.
        threads: CPU threads for torch and ONNX Runtime.

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
    if (found := hash_weights(model)) != checkpoint.weights_sha256[source.series]:
        raise InputError(f"{source.checkpoint}: the weights hash to {found}, the record says otherwise")
    quantization = checkpoint.quantization
    about = About(
        run_id=checkpoint.run_id,
        method=method,
        weights_sha256=found,
        variant=checkpoint.variant,
        names=checkpoint.names,
        imgsz=checkpoint.imgsz,
        head="one2one",
        max_det=source.run.evaluation.max_det,
        class_width=class_width(model),
        architecture=checkpoint.architecture,
    )
    folded = fold_detector(model, about, quantized_layers=quantization.quantized_layers)
    convolutions = sum(type(m).__name__.endswith("Conv2d") for m in model.modules())
    model.model[-1].max_det = about.max_det
    out.mkdir(parents=True, exist_ok=True)
    (out / "export.json").unlink(missing_ok=True)  # it must not vouch for other files
    files = Files()
    write_packed(out / files.packed, folded, created_by=f"qat-train {importlib.metadata.version('qat-train')}")
    network = read_packed(out / files.packed)  # from here on the packed file is the source: what it lacks would show
    logger.info("packed: %s", out / files.packed)
    traced = trace(network, imgsz=about.imgsz)
    graphs = {"int4": with_weights(traced, network, "as trained"), "fp32": with_weights(traced, network, "float32")}
    data_int4, data_fp32 = checked_bytes(graphs["int4"]), checked_bytes(graphs["fp32"])
    qat_artifacts.write_bytes(out / files.onnx, data_int4)
    logger.info("ONNX: %s", out / files.onnx)
    graph = onnx.load(out / files.onnx)
    codes = compare_codes(model, network, stored_weights(graph))
    agreement, images = detect_with_both(
        model,
        graph,
        data.yaml,
        imgsz=about.imgsz,
        quantized_layers=quantization.quantized_layers,
        threads=threads,
    )
    require_all_images("validation", len(images), data.view.val.images, data.path)
    hashes = {name: qat_artifacts.sha256_file(out / name) for name in (files.packed, files.onnx)}
    accuracy = Accuracy(
        torch=score(about.names, [i.torch for i in images], data.yaml, imgsz=about.imgsz, sha256=found),
        onnx=score(about.names, [i.onnx for i in images], data.yaml, imgsz=about.imgsz, sha256=hashes[files.onnx]),
    )
    sides: tuple[tuple[str, Literal["onnx", "torch"]], ...] = (
        (files.detections, "onnx"),
        (files.detections_torch, "torch"),
    )
    for name, side in sides:
        results = coco_results(images, side, identifiers, imgsz=about.imgsz)
        qat_artifacts.write_text(out / name, json.dumps(results, allow_nan=False) + "\n")
        hashes[name] = qat_artifacts.sha256_file(out / name)
    tolerances = Tolerances()
    against = faults(codes, agreement, accuracy, tolerances)
    record = Export(
        run_id=checkpoint.run_id,
        method=method,
        series=source.series,
        weights_sha256=found,
        variant=checkpoint.variant,
        names=checkpoint.names,
        imgsz=about.imgsz,
        head="one2one",
        opset=OPSET,
        quantization_mode=quantization.mode,
        granularity=quantization.granularity,
        dataset_fingerprint=data.view.fingerprint,
        layers=_describe(network),
        dropped_layers=convolutions - len(deployed_convolutions(model)),
        files=files,
        files_sha256=hashes,
        codes=codes,
        agreement=agreement,
        accuracy=accuracy,
        tolerances=tolerances,
        proven=not against,
        sizes=Sizes(
            packed=(out / files.packed).stat().st_size,
            onnx_int4=len(data_int4),
            onnx_int8=len(checked_bytes(with_weights(traced, network, "int8"))),
            onnx_fp16=len(convert_float_to_float16(graphs["fp32"], keep_io_types=True).SerializeToString()),
            onnx_fp32=len(data_fp32),
        ),
        latency=measure_latency(data_fp32, data_int4, imgsz=about.imgsz, threads=threads) if benchmark else None,
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


def _describe(network: Network) -> tuple[ExportedLayer, ...]:
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
