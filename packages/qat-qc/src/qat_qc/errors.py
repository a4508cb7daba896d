"""What can go wrong in a correction."""


class CorrectionError(Exception):
    """The correction cannot be made or is not what it claims to be."""


class TaskError(Exception):
    """No provider of models is installed under that name."""
