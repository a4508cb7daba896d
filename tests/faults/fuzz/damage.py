"""Damaged files as hypothesis strategies: a real file, and what editors, disks, other programs and attackers do to it.

A tree (JSON, TOML) is changed as a tree first and may hold raw text that no tree can, such as NaN, a number of 5,000
digits or a list nested 100,000 deep; lines are changed cell by cell; last come the bytes, whatever the format.
"""

import copy
import json
import pickle
import re

import tomli_w
from hypothesis import strategies as st

# Escapes are spelt for every place where a name of a file is read; `canary` is planted beside the fuzzed folder.
NAMES = ("../canary", "../canary.json", "/etc/passwd", "..", ".", "", "a/../../canary", "..\\canary", "a\0b", "x" * 300)
VALUES = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, "text", "\ud7ff", "\u202e", "1", "nan", "true"),
    *(0, 1, -1, 2, 255, 2**31, -(2**31) - 1, 2**53 + 1, 2**63, 2**64, -(2**70), 10**30),
    *(0.5, -0.0, 1e-320, 1e308, -1e308, 1.0),
    *NAMES,
)
RAW = {
    "json": (
        *(
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "-1e999",
            "01",
            "1.",
            "+1",
            "0x10",
            "'a'",
            "[1,]",
            '{"a": 1, "a": 2}',
        ),
        *('"\\ud800"', '"\\udc00\\ud800"', '"\t"', "9" * 400, "-" + "9" * 400, "9" * 5000, "1" + "0" * 400 + ".5"),
        *("[" * 900 + "]" * 900, "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, '{"a":' * 100_000, "// a\n1", "1e400"),
    ),
    "toml": (
        *(
            "nan",
            "-inf",
            "1e999",
            "1979-05-27T07:32:00Z",
            "07:32:00",
            "1979-02-30",
            "0o17",
            "1_000",
            "1__0",
            "'a'",
            "[1,]",
        ),
        *("9" * 400, "9" * 5000, "[" * 900 + "]" * 900, "[" * 100_000, "{a = " * 900 + "1" + "}" * 900, '"\\ud800"'),
        *("{a = 1, a = 2}", '"""\n"""', "true false", "9999-12-31T23:59:59.9999999999Z"),
    ),
}
CELLS = (
    *(
        "",
        " ",
        "nan",
        "-inf",
        "1e999",
        "-1",
        "0",
        "1",
        "0x1",
        "1_0",
        "٣",
        "1e-320",
        "9" * 400,
        "9" * 5000,
        '"',
        '""',
        "\0",
    ),
    *("a,b", "../canary", "\u2028", "\x1c", "\ufeff", "-0", "1.5", "999999", "1000000", "{}", "[" * 2000, "\x85"),
)
_MARK = "raw text goes here "  # as a string in a tree, it is replaced by what no tree can hold


def places(tree):
    """(container, key) of every node of a tree but its root."""
    found, waiting = [], [tree]
    while waiting:
        at = waiting.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            found.append((at, key))
            waiting.append(at[key])
    return found


@st.composite
def trees(draw, golden, form):
    """Text of a tree with one to three changed nodes."""
    tree = pickle.loads(pickle.dumps(golden))  # a fifth of the time of deepcopy
    raw = []
    for _ in range(draw(st.integers(1, 3))):
        found = places(tree)
        if not found:
            break
        at, key = found[draw(st.integers(0, len(found) - 1))]
        how = draw(st.sampled_from(("value", "raw", "drop", "twice", "rename", "swap", "wrap")))
        if how == "value":
            at[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif how == "raw":
            raw.append(draw(st.sampled_from(RAW[form])))
            at[key] = f"{_MARK}{len(raw) - 1}"
        elif how == "drop":
            del at[key]
        elif how == "twice" and isinstance(at, list):
            at.insert(key, copy.deepcopy(at[key]))
        elif how == "rename" and isinstance(at, dict):
            at[draw(st.sampled_from(("", key.upper(), f" {key}", "x" * 300, "ключ", "a\0b")))] = at.pop(key)
        elif how == "swap":
            other, name = found[draw(st.integers(0, len(found) - 1))]
            at[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(at[key])
        else:
            at[key] = draw(st.sampled_from(([at[key]], {"a": at[key]}, [at[key]] * 3)))
    text = spell(tree, form)
    return re.sub(rf'"{_MARK}(\d+)"', lambda match: raw[int(match[1])], text)


def spell(tree, form):
    """Text of a tree; TOML has no null and no integer above 64 bits, so both are spelt in it as they would be typed."""
    if form == "json":
        return json.dumps(tree, ensure_ascii=False, indent=1)
    return tomli_w.dumps(_typed(tree))


def _typed(tree):
    if isinstance(tree, dict):
        return {key: _typed(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_typed(value) for value in tree]
    return "null" if tree is None else tree


@st.composite
def rows(draw, golden, separator):
    """Text of lines with one to three changed lines or cells."""
    lines = golden.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(("cell", "cell", "drop", "twice", "swap", "cut", "split", "more")))
        if how == "cell":
            cells = lines[place].split(separator)
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(CELLS))
            lines[place] = separator.join(cells)
        elif how == "drop" and len(lines) > 1:
            del lines[place]
        elif how == "twice":
            lines.insert(place, lines[place])
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif how == "cut":
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
        elif how == "split":
            lines.insert(place, draw(st.sampled_from(CELLS)))
        else:
            lines[place] += separator + draw(st.sampled_from(CELLS))
    return "\n".join(lines)


@st.composite
def damaged(draw, data, *, often=True):
    """Bytes with a damage of a disk, an editor or a transfer; most of them are left as they are unless `often`."""
    kinds = ("cut", "flip", "nul", "bom", "crlf", "cr", "utf16", "latin", "insert", "twice", "gone", "whole", "empty")
    how = draw(st.sampled_from(kinds if often else ("whole",) * 8 + kinds))
    at = draw(st.integers(0, len(data))) if how in ("cut", "nul", "insert", "twice", "gone") else 0
    if how == "cut":
        return data[:at]
    if how == "flip" and data:
        for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=4)):
            data = data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
        return data
    if how == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
    length = draw(st.integers(1, 64)) if how in ("twice", "gone", "nul") else 0
    match how:
        case "nul":
            return data[:at] + b"\0" * length + data[at:]
        case "bom":
            return b"\xef\xbb\xbf" + data
        case "crlf":
            return data.replace(b"\n", b"\r\n")
        case "cr":
            return data.replace(b"\n", b"\r")
        case "utf16":
            return data.decode("utf-8", "replace").encode("utf-16")
        case "latin":
            return data.replace(b"a", b"\xe4")
        case "twice":
            return data[:at] + data[at : at + length] + data[at:]
        case "gone":
            return data[:at] + data[at + length :]
        case "empty":
            return b""
    return data


def files(golden, form, separator=""):
    """Bytes of damaged files of a form: "json", "toml" (a tree), "rows" (a text), "bytes"."""
    if form == "bytes":
        return damaged(golden)
    changed = rows(golden, separator) if form == "rows" else trees(golden, form)
    whole = golden if form == "rows" else spell(golden, form)
    encoded = changed.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(
        encoded.flatmap(lambda data: damaged(data, often=False)),
        encoded,
        damaged(whole.encode("utf-8", "surrogatepass")),
    )
