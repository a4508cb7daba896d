"""What several commands share."""

from pathlib import Path
from typing import Any

import click

import qat_artifacts

path = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def print_json(value: Any) -> None:
    """One JSON document on stdout; a record, a list of records, or plain values."""
    plain = [qat_artifacts.unstructure(item) for item in value] if isinstance(value, list) else value
    click.echo(qat_artifacts.dumps(qat_artifacts.unstructure(plain)), nl=False)
