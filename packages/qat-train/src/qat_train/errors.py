"""What can stop a run, by what the caller should do about it."""


class TrainError(Exception):
    """Base of every error this package raises on purpose."""


class SpecError(TrainError):
    """The run specification or a command line is wrong (exit 2)."""


class InputError(TrainError):
    """A checkpoint, data set or run directory cannot be used (exit 3)."""


class Diverged(TrainError):
    """Loss or weights stayed non-finite after every permitted rollback (exit 6)."""


class Busy(TrainError):
    """Another trainer is at work on the run (exit 5)."""


class ResourceError(TrainError):
    """The device, memory or an installed package does not suffice (exit 7)."""


class NotProven(TrainError):
    """An exported model is not the trained one within the tolerances (exit 6); its files are kept to look at."""
