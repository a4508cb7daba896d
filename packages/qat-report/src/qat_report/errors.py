"""What can be wrong with the input of a report."""


class ReportError(Exception):
    """A file cannot be reported on. The text names the file and, where there is one, the line and the column."""


class RequestError(ReportError):
    """What was asked for contradicts itself: the request is wrong, not a file."""


class ToolError(ReportError):
    """What the request needs beside the files is missing or does not answer: a package, a tracking store."""
