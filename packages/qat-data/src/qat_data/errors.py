"""What can be wrong with a data set or with a request. The text names file, item and remedy."""


class DataError(Exception):
    """The data cannot be used as it is."""


class RequestError(Exception):
    """The request contradicts itself or names something that is not there."""


class MissingPackage(Exception):
    """An optional package that was asked for is not installed."""
