"""Detections of single images by an exported model, beside those of the floating-point one that it came from.

The exported file is run by Ultralytics' own predictor, as a user would call it. The floating-point model is given the
very tensor that the predictor made of the image, and its output goes through the predictor's own selection.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from ultralytics import YOLO

import qat_artifacts
from qat_train.detector import load_detector
from qat_train.errors import InputError, SpecError
from qat_train.export.drawing import Half, draw_row, heading, png
from qat_train.export.matching import FoundObject, Pairing, found_objects, pair_objects
from qat_train.export.reference import comparable_model, run_of_export, starting_detector

WIDTH, HEIGHT = 800, 800  # of a half at most, in pixels


@attrs.frozen(kw_only=True)
class Prediction:
    """What was found in one image.

    Attributes:
        image: the file.
        drawn: the picture of both halves, where one was asked for.
        against: the floating-point checkpoint; None: there is none, and so no `fp32` and no `pairing`.
        note: why there is none, and what to do.
        int4: objects of the exported model, best first.
        fp32: objects of the checkpoint.
        pairing: which of them are the same.
    """

    image: str
    drawn: str | None
    against: str | None
    note: str | None
    int4: tuple[FoundObject, ...]
    fp32: tuple[FoundObject, ...] | None
    pairing: Pairing | None


@attrs.frozen(kw_only=True, eq=False)
class _Reference:
    """The floating-point side: a model and its file, or why there is none."""

    source: str | None = None
    model: Any = None
    note: str | None = None


def predict(
    model: Path,
    images: Sequence[Path],
    *,
    confidence: float,
    out: Path | None,
    against: Path | None,
    trust: str | None = None,
) -> tuple[Prediction, ...]:
    """Detect objects.

    Args:
        model: model.onnx of an export.
        images: files.
        confidence: lowest score, in [0, 1].
        out: folder for pictures of both halves; none are drawn without.
        against: floating-point checkpoint, a .pt file; without, the one that the run of the export started from. Where
            that is not to be found, the exported model is alone and `note` says why.
        trust: "sha256:<hex>" of a checkpoint whose code may run.

    Raises:
        InputError: a file is missing or cannot be read, or `against` is for other classes or another head.
        SpecError: `model` is no .onnx file, or two images of one name would be drawn into one file.
    """
    for path in (model, *images, *([against] if against else [])):
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    if model.suffix != ".onnx":  # Ultralytics opens a dozen formats by their suffix, some of which run code
        raise SpecError(f"--model {model}: expected the model.onnx of an export")
    stems = [image.stem for image in images]
    if out is not None and (same := next((stem for stem in stems if stems.count(stem) > 1), None)):
        raise SpecError(f"--image: several files are called {same!r} and would be drawn into one; call them one by one")
    detector = YOLO(str(model), task="detect")
    reference = _Reference()
    found: list[Prediction] = []
    for image in images:
        try:
            (result,) = detector.predict(str(image), conf=confidence, device="cpu", save=False, verbose=False)
        except Exception as error:  # Ultralytics and ONNX Runtime have no common class for what they cannot read
            raise InputError(f"{model} on {image}: {str(error).splitlines()[0]}") from error
        names = [result.names[i] for i in sorted(result.names)]
        if not found:  # the classes are known from the first result on
            reference = _find_reference(model, against, trust, names, int(detector.predictor.args.max_det))
        int4 = found_objects(result.boxes.data, names)
        fp32 = None
        if reference.model is not None:
            fp32 = found_objects(_run(reference.model, detector.predictor, result), names)
        prediction = Prediction(
            image=str(image),
            drawn=None,
            against=reference.source,
            note=reference.note,
            int4=int4,
            fp32=fp32,
            pairing=None if fp32 is None else pair_objects(fp32, int4),
        )
        if out is not None:
            drawn = out / f"{image.stem}-{'int4' if fp32 is None else 'fp32-int4'}.png"
            picture = draw_row(
                result.orig_img, _halves(prediction, model, confidence), names, width=WIDTH, height=HEIGHT
            )
            qat_artifacts.write_bytes(drawn, png(picture))
            prediction = attrs.evolve(prediction, drawn=str(drawn))
        found.append(prediction)
    return tuple(found)


def _find_reference(
    model: Path, against: Path | None, trust: str | None, names: Sequence[str], max_det: int
) -> _Reference:
    """The checkpoint that was named, or else the one that the run of the export started from, if it is to be had."""
    if against is not None:
        source, detector = str(against), load_detector(str(against), trust=trust)
    else:
        try:
            run = run_of_export(model.parent / "export.json")
            source, detector = run.model.checkpoint, starting_detector(run, trust)
        except (InputError, qat_artifacts.ArtifactError) as error:
            return _Reference(note=f"{error}, or name the floating-point checkpoint with --against FILE.pt")
    return _Reference(source=source, model=comparable_model(detector, source, names, max_det=max_det))


@torch.inference_mode()
def _run(model: Any, predictor: Any, result: Any) -> torch.Tensor:
    """Rows of a floating-point model, (detections, 6), for the image that `predictor` has just seen."""
    letterboxed = predictor.preprocess([result.orig_img])
    (selected,) = predictor.postprocess(model(letterboxed)[0], letterboxed, [result.orig_img])
    rows: torch.Tensor = selected.boxes.data
    return rows


def _halves(prediction: Prediction, model: Path, confidence: float) -> list[Half]:
    pairing, int4 = prediction.pairing, f"INT4 {model.parent.name}/{model.name}"
    if prediction.fp32 is None or prediction.against is None or pairing is None:
        return [Half(title=heading(int4, len(prediction.int4), confidence), objects=prediction.int4)]
    fp32 = f"FP32 {Path(prediction.against).name}"
    return [
        Half(title=heading(name, len(objects), confidence, len(alone)), objects=objects, alone=alone)
        for name, objects, alone in (
            (fp32, prediction.fp32, pairing.only_fp32),
            (int4, prediction.int4, pairing.only_int4),
        )
    ]


def describe(predictions: Sequence[Prediction]) -> str:
    """A line for each object, those that both models found first."""
    lines = []
    for prediction in predictions:
        place, pairing = prediction.drawn or prediction.image, prediction.pairing
        int4, fp32 = prediction.int4, prediction.fp32
        if fp32 is None or pairing is None:
            lines.append(f"{place}: {len(int4)} objects in INT4 alone: {prediction.note}")
            lines += [f"  INT4  {_line(found)}" for found in int4]
            continue
        lines.append(
            f"{place}: {len(fp32)} objects in FP32 ({prediction.against}), {len(int4)} in INT4: {len(pairing.matched)} "
            f"matched, {len(pairing.only_fp32)} only in FP32, {len(pairing.only_int4)} only in INT4"
        )
        lines += [
            f"  both  {_line(int4[m.int4])}; FP32 {fp32[m.fp32].score:.2f}, IoU {m.iou:.2f}" for m in pairing.matched
        ]
        lines += [f"  FP32  {_line(fp32[i])}" for i in pairing.only_fp32]
        lines += [f"  INT4  {_line(int4[i])}" for i in pairing.only_int4]
    return "\n".join(lines)


def _line(found: FoundObject) -> str:
    left, top, right, bottom = (round(side) for side in found.box)
    return f"{found.name} {found.score:.2f} at {left}, {top} to {right}, {bottom}"
