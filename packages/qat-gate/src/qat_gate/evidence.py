"""The runs a policy is about, and the questions its rules ask about them."""

import attrs

from qat_gate.policy import Policy
from qat_gate.summaries import RunSummary


@attrs.frozen(kw_only=True)
class Evidence:
    """Runs of the policy's variants and methods, sorted by run id."""

    policy: Policy
    runs: tuple[RunSummary, ...]

    def counts(self, run: RunSummary) -> bool:
        """Whether the run ended, or is incomplete and named by `include`."""
        return run.status.startswith("completed") or self.admitted(run)

    def admitted(self, run: RunSummary) -> bool:
        """Whether the run counts only because the policy names it."""
        return run.status == "incomplete" and run.run_id in self.policy.include

    def find(self, variant: str, method: str, seed: int | None = None) -> list[RunSummary]:
        """Runs of a cell, whether they count or not."""
        return [
            run
            for run in self.runs
            if (run.model.variant, run.method.variant) == (variant, method) and seed in (None, run.training.seed)
        ]

    def seeds(self, variant: str) -> list[int]:
        """Every seed of a variant that any method has tried: a seed that failed cannot be left out."""
        return sorted({run.training.seed for run in self.runs if run.model.variant == variant})

    def required(self) -> list[RunSummary]:
        """Runs of the required cells that count."""
        cells = [self.find(variant, self.policy.method) for variant in self.policy.variants]
        return [run for cell in cells for run in cell if self.counts(run)]
