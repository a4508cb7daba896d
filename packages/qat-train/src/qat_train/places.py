"""Names of files inside an artifact: a copied or hostile one must not lead a reader to files elsewhere."""

import attrs


def inside(instance: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    """Attrs validator: a relative path to something in the folder of the artifact, or below it."""
    parts = value.split("/")
    # Printable comes first: what is not may have no bytes at all. File systems take 255 of them.
    wrong = value.startswith("/") or ".." in parts or not value.isprintable()
    if wrong or any(len(part.encode()) > 255 for part in parts):
        raise ValueError(f"{attribute.name} {value!r} is nothing in the folder of the file that names it")
