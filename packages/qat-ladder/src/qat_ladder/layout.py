"""Where everything of a run root lies."""

from pathlib import Path

import attrs


def slug(method: str) -> str:
    """Folder of a method: `ema+qc` becomes `ema-qc`."""
    return method.replace("+", "-")


@attrs.frozen
class Root:
    """A run root; one root holds one plan."""

    path: Path

    @property
    def plan(self) -> Path:
        """ladder.json."""
        return self.path / "ladder.json"

    @property
    def lock(self) -> Path:
        """Held while a ladder works here."""
        return self.path / ".lock"

    @property
    def holder(self) -> Path:
        """Who holds the lock."""
        return self.path / ".lock.json"

    @property
    def gate(self) -> Path:
        """gate.json."""
        return self.path / "gate.json"

    @property
    def references(self) -> Path:
        """FP32 and PTQ references, computed once."""
        return self.path / "references"

    @property
    def prepared(self) -> Path:
        """Holds prepared data sets."""
        return self.path / "data"

    def data(self, fingerprint: str) -> Path:
        """A prepared data set."""
        return self.prepared / fingerprint[:12]

    def folders(self) -> tuple[Path, ...]:
        """Those of this layout, there or not; a variant's only where it is there."""
        own = (self.path / name for name in ("pretrained", "trajectories"))
        return (self.prepared, self.references, *own, *sorted(self.path.glob("yolo10?")))

    def pretrained(self, checkpoint: str, data: str) -> Path:
        """A floating-point run whose result is model.pt; arguments are hashes."""
        return self.path / "pretrained" / f"{checkpoint[:12]}-{data[:12]}"

    def request(self, variant: str) -> Path:
        """request.json of a variant whose run is gated."""
        return self.path / variant / "request.json"

    def trajectory(self, variant: str, arm: str, seed: int) -> Path:
        """A qat-train run."""
        return self.path / "trajectories" / variant / arm / f"seed{seed}"

    def correction(self, variant: str, arm: str, seed: int, method: str) -> Path:
        """What qat-qc makes of a run for one method; several methods correct one run, each in its own way."""
        return self.trajectory(variant, arm, seed) / "qc" / slug(method)

    def summary(self, variant: str, method: str, seed: int) -> Path:
        """Folder of a run_summary.json."""
        return self.path / variant / slug(method) / f"seed{seed}"
