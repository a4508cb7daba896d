"""What is known of a run before it starts, put together for a gate."""

import datetime
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import qat_artifacts
from qat_ladder.cells import given_beside_files
from qat_ladder.compose import Resolved
from qat_ladder.config import Config
from qat_ladder.launch import call
from qat_ladder.layout import Root
from qat_ladder.request import (
    Git,
    Layer,
    RequestedData,
    RequestedEvaluation,
    RequestedModel,
    RequestedQuantization,
    RequestedTraining,
    RunRequest,
    Scale,
    Selection,
)
from qat_ladder.training import trusting

_RECORDED = ("torch", "torchvision", "ultralytics", "nvidia-modelopt", "numpy", "qat-train")


def ask(resolved: Resolved, root: Root, *, seeds: list[int], fingerprint: str) -> RunRequest:
    """The request for a run of `resolved` on the data of `root` with `fingerprint` ("" where none were prepared).

    Raises:
        LadderError: the policy or the checkpoint cannot be read.
    """
    config, versions = resolved.config, _versions()
    framework = f"ultralytics {versions.get('ultralytics', 'unknown')}"
    data = _data(config, root, fingerprint)
    checkpoint, training = Path(config.model.checkpoint), config.training
    return RunRequest(
        run_id=config.model.variant,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        git=_git(Path(__file__).parent),
        profile=resolved.profile,
        drawn=config.demo,
        model=RequestedModel(
            variant=config.model.variant,
            checkpoint=config.model.checkpoint,
            checkpoint_sha256=qat_artifacts.sha256_file(checkpoint) if checkpoint.is_file() else None,
            imgsz=training.imgsz,
        ),
        quantization=_quantization(config),
        method=config.method.name,
        averaged=config.method.weights == "ema",
        corrected=config.method.correction,
        dataset=data,
        training=RequestedTraining(
            framework=framework,
            epochs=training.epochs,
            batch=training.batch,
            effective_batch=training.batch,
            steps_per_epoch=-(-data.train_images // training.batch),
            seed=seeds[0],
            data_seed=config.data.seed,
            device=training.device,
            amp=training.amp,
            workers=training.workers,
            threads=training.threads,
            optimizer=training.optimizer,
            overrides=given_beside_files(resolved),
            interventions=config.interventions,
        ),
        evaluation=RequestedEvaluation(evaluator=f"{framework}, square letterbox"),
        versions=versions,
    )


def _quantization(config: Config) -> RequestedQuantization:
    """Its layers are those of the checkpoint, or of the architecture where there is no file yet."""
    key, model = config.quantization, config.model
    scale = Scale(init=key.init, learned=key.learned, lr=key.scale_lr if key.learned else None)
    if key.bits == 32:
        return RequestedQuantization(
            mode="fp32",
            library="none",
            weight_bit_width=None,
            granularity=key.granularity,
            scale=scale,
            policy="none",
            layers=(),
        )
    source = model.checkpoint if Path(model.checkpoint).is_file() else f"scratch:{model.architecture}"
    words = ["--checkpoint", source, "--policy", key.policy, "--bits", str(key.bits)]
    listed = call("qat-train", "layers", *words, *trusting(model.trust_checkpoint), "--json")
    return RequestedQuantization(
        mode=f"w{key.bits}a16",
        library="nvidia-modelopt",
        weight_bit_width=key.bits,
        granularity=key.granularity,
        scale=scale,
        policy=_policy_label(key.policy),
        layers=tuple(Layer(**layer) for layer in json.loads(listed)),
    )


def _policy_label(policy: str) -> str:
    """As qat-train records it: the name of a shipped one, stem and hash of a file."""
    path = Path(policy)
    return f"{path.stem}-{qat_artifacts.sha256_file(path)[:12]}" if path.suffix == ".toml" else policy


def _data(config: Config, root: Root, fingerprint: str) -> RequestedData:
    """The data block: of the prepared data; of what the configuration asks for where they are not there (any more)."""
    data, file = config.data, root.data(fingerprint) / "dataset.json"
    if fingerprint and file.is_file():
        found: dict[str, Any] = qat_artifacts.loads(file.read_bytes())
        return RequestedData(
            coco_root=found["coco_root"],
            dataset_yaml=str(file.parent.absolute() / found["data_yaml"]),
            fingerprint=found["fingerprint"],
            selection=Selection(**found["selection"]),
            train_images=found["train"]["images"],
            val_images=found["val"]["images"],
            val_fingerprint=found["val"]["fingerprint"],
            classes=tuple(c["name"] for c in sorted(found["classes"], key=lambda c: c["index"])),
        )
    train, val = (None if n == "all" else n for n in (data.train_images, data.val_images))
    return RequestedData(
        coco_root=data.coco_root,
        dataset_yaml="",
        fingerprint=fingerprint or None,
        selection=Selection(
            data_seed=data.seed,
            train=data.train_selection,
            val=data.val_selection,
            train_images_requested=train,
            val_images_requested=val,
        ),
        train_images=0,
        val_images=0,
        val_fingerprint=None,
        classes=(),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path) -> Git:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no") if commit else None
    branch = git("rev-parse", "--abbrev-ref", "HEAD") if commit else None
    return Git(commit=commit, branch=branch, dirty=None if status is None else bool(status))
