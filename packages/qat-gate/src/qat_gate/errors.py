"""What keeps a gate from deciding. A subclass exists only where a caller would act differently."""


class GateError(Exception):
    """Base of every error this package raises on purpose."""


class PolicyError(GateError):
    """The policy is wrong (exit 2)."""


class EvidenceError(GateError):
    """The run summaries cannot be judged together (exit 3)."""
