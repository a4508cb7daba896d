"""What stops a ladder before or between its cells."""

from qat_artifacts import Exit


class LadderError(Exception):
    """Stops the ladder with an exit code of `qat_artifacts.Exit`; the text names what is wrong and the remedy."""

    code: Exit = Exit.BUG

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it: nothing more is tried or written then."""
        return self.code in (Exit.INTERRUPTED, Exit.TERMINATED)


class ConfigError(LadderError):
    """A wrong flag, file or key."""

    code = Exit.USAGE


class InputProblem(LadderError):
    """Data or weights cannot be used."""

    code = Exit.INPUT


class Busy(LadderError):
    """Another ladder works in the same run root."""

    code = Exit.BUSY


class Unavailable(LadderError):
    """The machine lacks something."""

    code = Exit.ENVIRONMENT
