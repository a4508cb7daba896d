"""What can be wrong with the input of a report."""


class ReportError(Exception):
    """A file cannot be reported on. The text names the file and, where there is one, the line and the column."""


class RequestError(ReportError):
    """What was asked for contradicts itself: the request is wrong, not a file."""
