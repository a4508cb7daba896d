"""Numbers of `invoke bench`'s flags."""

import math

from qat_ladder.errors import ConfigError


def parse_part(text: str) -> float:
    """The value of --part.

    Raises:
        ConfigError: no number above 0 up to 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:  # nan too
        raise ConfigError(f"--part {text!r}: expected a number above 0 up to 1, such as 0.05")
    return value


def parse_rounds(text: str) -> int | None:
    """The value of --rounds; None of "".

    Raises:
        ConfigError: no integer from 1.
    """
    if not text:
        return None
    if not (text.isdecimal() and text.isascii() and int(text) >= 1):
        raise ConfigError(f"--rounds {text!r}: expected an integer from 1, such as 3")
    return int(text)
