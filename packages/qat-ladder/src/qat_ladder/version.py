"""What artifacts of the ladder say of the program that wrote them."""

import importlib.metadata

CREATED_BY = f"qat-ladder {importlib.metadata.version('qat-ladder')}"
