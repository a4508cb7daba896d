"""Configuration that is wrong: exit 2 before any work, with file, key and remedy."""

import pytest

from .commands import ROOT, call, invoke


def run(spec, tmp_path):
    done = call("qat-train", "run", "--spec", spec, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    return done


@pytest.mark.fault("B2-36", "unknown key in TOML: exit 2, its path, and the name that was meant", how="real")
def test_an_unknown_key(spec, tmp_path):
    path = spec()
    path.write_text(path.read_text().replace("epochs =", "epochz ="))
    done = run(path, tmp_path)
    assert done.code == 2
    assert f"error: {path}: " in done.err
    assert "training: unknown field 'epochz' (did you mean 'epochs'?), allowed: epochs, imgsz, " in done.err
    done = invoke("config.show", "--set", "training.epochz=3")
    assert done.code == 2
    text = "--set training.epochz=3: training.epochz: unknown key (did you mean epochs?), allowed: epochs, imgsz, "
    assert text in done.err
    policy = tmp_path / "gate.toml"
    policy.write_text((ROOT / "configs/gate.toml").read_text().replace("min_seeds", "min_seedz"))
    done = call("qat-gate", "check", "--policy", policy, "--out", tmp_path / "gate.json", tmp_path)
    assert done.code == 2
    assert f"error: {policy}: " in done.err
    assert "unknown field 'min_seedz' (did you mean 'min_seeds'?)" in done.err
    assert not (tmp_path / "gate.json").exists()


VALUES = {
    "-1": "'epochs' must be >= 1: -1",
    "1.9": "expected int, found float 1.9",
    '"7"': "expected int, found str '7'",
    "true": "expected int, found bool True",
    "1e400": "expected int, found float inf",
    "nan": "expected int, found float nan",
    "0": "'epochs' must be >= 1: 0",
}


@pytest.mark.fault("B2-37", 'epochs = -1, 1.9, "7", true, 1e400: exit 2 each, nothing is coerced', how="real")
@pytest.mark.parametrize(("value", "text"), VALUES.items())
def test_a_value_of_another_type_or_range(spec, tmp_path, value, text):
    done = run(spec(epochs=value), tmp_path)
    assert done.code == 2
    assert text in done.err
    done = invoke("config.show", "--set", f"training.epochs={value}")
    assert done.code == 2
    assert "training.epochs" in done.err


@pytest.mark.fault("B2-37", "a learning rate of 1e400 or nan: exit 2, it must be finite", how="real")
@pytest.mark.parametrize("value", ["1e400", "nan"])
def test_a_number_that_is_not_finite(spec, tmp_path, value):
    done = run(spec(lr0=value), tmp_path)
    assert done.code == 2
    assert "training.lr0: expected a finite number, found float" in done.err


@pytest.mark.fault(
    "B2-37", "a learning rate or weight decay above 1, which Ultralytics takes no more: exit 2", how="real"
)
def test_a_rate_above_one(spec, tmp_path):
    done = run(spec(lr0=1.5), tmp_path)
    assert done.code == 2
    assert "training: lr0 must lie in (0, 1], found 1.5" in done.err
    done = invoke("config.show", "--set", "training.lr0=1.5", "--set", "training.weight_decay=2.0")
    assert done.code == 2
    assert "--set training.lr0=1.5: training.lr0: must lie in (0, 1], found 1.5" in done.err
    assert "'weight_decay' must be <= 1.0: 2.0" in done.err


@pytest.mark.fault("B2-38", "TOML syntax error or duplicate key: exit 2 with file, line and column", how="real")
@pytest.mark.parametrize(
    ("text", "fault"),
    [("[training\n", "(at line 1, column 10)"), ("a = 1\na = 2\n", "Cannot overwrite a value (at line 2, column 6)")],
)
def test_text_that_is_no_toml(tmp_path, text, fault):
    path = tmp_path / "run.toml"
    path.write_text(text)
    done = run(path, tmp_path)
    assert done.code == 2
    assert done.err.startswith(f"error: {path}: ")
    assert fault in done.err
    done = invoke("config.show", "--config", path)
    assert done.code == 2
    assert fault in done.err


@pytest.mark.fault("B2-38", "byte order mark and CRLF, as editors of Windows write: read like any other", how="real")
def test_a_byte_order_mark_and_crlf(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf[training]\r\nepochs = 3\r\n")
    done = invoke("config.show", "--config", path)
    assert done.code == 0, done.err
    assert "epochs = 3" in done.out


@pytest.mark.fault("B2-38", "TOML that is not UTF-8: exit 2, the byte named", how="real")
def test_text_in_another_encoding(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"# gr\xf6\xdfe\n")
    done = run(path, tmp_path)
    assert done.code == 2
    assert f"{path}: 'utf-8' codec can't decode byte 0xf6 in position 4" in done.err


@pytest.mark.fault("extra-config-missing", "configuration file or specification missing: exit 2, its name", how="real")
def test_a_file_that_is_not_there(tmp_path):
    done = run(tmp_path / "none.toml", tmp_path)
    assert (done.code, done.err) == (2, f"error: {tmp_path}/none.toml: No such file or directory\n")
    done = invoke("config.show", "--config", tmp_path / "none.toml")
    assert (done.code, done.err) == (2, f"error: --config {tmp_path}/none.toml: there is no such file\n")
    done = invoke("config.show", "--method", "emma")
    assert done.code == 2
    assert "no method 'emma'" in done.err
    assert "did you mean ema?" in done.err


@pytest.mark.fault(
    "B2-7", "several devices that cannot train one run together: exit 2 and why, before any work", how="real"
)
def test_more_than_one_device():
    for device, text in (
        ("0,cpu", "must be cpu, auto, a CUDA index such as 0, or several that train one run together, such as 0,1"),
        ("1,1", "a device is named twice in '1,1'"),
        ("0,1,2", "a batch of 16 cannot be divided among 3 devices"),
    ):
        done = invoke("ladder.n", "--device", device, "--dry-run")
        assert done.code == 2
        assert text in done.err


@pytest.mark.fault(
    "extra-flag", "a misspelt flag value: exit 2 and the name that was meant, before any work", how="real"
)
def test_a_misspelt_value_of_a_flag(tmp_path):
    done = invoke("ladder.n", "--profile", "shrot", "--root", tmp_path / "runs")
    assert done.code == 2
    assert "--profile 'shrot': expected one of tiny, demo, smoke, short, full; did you mean short?" in done.err
    assert not (tmp_path / "runs").exists()
