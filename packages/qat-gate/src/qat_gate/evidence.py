"""The runs a policy is about, and the questions its rules ask about them."""

from collections.abc import Mapping

import attrs

from qat_gate.policy import Policy
from qat_gate.request import PlannedCell, Request
from qat_gate.summaries import RunSummary
from qat_gate.verifying import UNVERIFIED, Verification


@attrs.frozen(kw_only=True)
class Evidence:
    """Runs of the policy's variants and methods, sorted by run id, and what they are held against.

    `lost`: cells that were planned or begun in a run root which holds no summary of them.
    """

    policy: Policy
    runs: tuple[RunSummary, ...]
    verified: Mapping[str, Verification] = attrs.field(factory=dict)
    planned: tuple[PlannedCell, ...] = ()
    lost: tuple[PlannedCell, ...] = ()
    request: Request | None = None

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
        """Every seed of a variant that a method of the policy has tried, or that was planned or lost for one.

        A seed that failed cannot be left out; one of a method that the policy does not name is nothing to it.
        """
        tried = {run.training.seed for run in self.runs if run.model.variant == variant}
        named = (cell for cell in (*self.planned, *self.lost) if cell.method in self.policy.methods)
        return sorted(tried | {cell.seed for cell in named if cell.variant == variant})

    def verification(self, run: RunSummary) -> Verification:
        """What its inputs say of a run."""
        return self.verified.get(run.run_id, UNVERIFIED)

    def required(self) -> list[RunSummary]:
        """Runs of the required cells that count."""
        cells = [self.find(variant, self.policy.method) for variant in self.policy.variants]
        return [run for cell in cells for run in cell if self.counts(run)]
