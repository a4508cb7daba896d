"""What can be wrong with an artifact. A subclass exists only where a caller would act differently."""


class ArtifactError(Exception):
    """An artifact cannot be used. The text names the file."""


class NotAnArtifact(ArtifactError):
    """The file is missing, is no JSON object, or carries another schema."""


class UnsupportedVersion(ArtifactError):
    """The file was written under another major version of its schema."""


class InvalidArtifact(ArtifactError):
    """The header is right and the body is not. `faults` holds one line per field."""

    def __init__(self, source: str, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__(f"{source}: " + "; ".join(faults))
