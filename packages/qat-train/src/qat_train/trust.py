"""The one way round the list of what a checkpoint may name: the hash of a file whose code may run."""

import re

import click

from qat_train.errors import SpecError

_TRUST = re.compile(r"sha256:([0-9a-f]{64})")


def parse_trust(text: str, name: str = "--trust-checkpoint") -> str:
    """The hash of `sha256:<64 hexadecimal digits>`; `name` is what the text was given as.

    Raises:
        SpecError: anything else.
    """
    if found := _TRUST.fullmatch(text):
        return found[1]
    raise SpecError(f"{name} {text!r}: expected sha256: and 64 hexadecimal digits, as sha256sum prints them")


def _checked(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        parse_trust(value)
    return value


trust_option = click.option(
    "--trust-checkpoint",
    "trust",
    metavar="sha256:HEX",
    callback=_checked,
    help="Let the code in a .pt file of this hash run, where it is refused otherwise.",
)
