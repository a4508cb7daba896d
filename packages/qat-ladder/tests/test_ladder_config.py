"""Composition of the configuration: order, origins, and every fault at once."""

import json
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context

from qat_ladder import tasks
from qat_ladder.compose import compose, parse_setting, render
from qat_ladder.dataset import image_counts
from qat_ladder.errors import ConfigError
from qat_ladder.flags import choice, expand_methods, parse_methods, parse_seeds
from qat_ladder.layout import Root
from qat_ladder.plan import make_plan
from qat_ladder.training import specification


def test_later_layers_win_and_each_key_knows_its_origin(request_for, tmp_path):
    extra = tmp_path / "mine.toml"
    extra.write_text("[training]\nlr0 = 0.5\nlrf = 0.5\n")
    resolved = request_for(config=(str(extra),), settings=("training.lrf=0.25",), device="cpu").resolve("ema+qc")
    training = resolved.config.training
    assert (training.epochs, training.lr0, training.lrf, training.device) == (10, 0.5, 0.25, "cpu")
    kinds = {key: resolved.origins[f"training.{key}"].kind for key in ("batch", "epochs", "lr0", "lrf", "device")}
    assert kinds == {"batch": "base", "epochs": "profile", "lr0": "given", "lrf": "given", "device": "given"}
    assert resolved.origins["training.lr0"].origin.endswith("mine.toml")
    assert resolved.origins["training.lrf"].origin == "--set training.lrf=0.25"
    assert resolved.config.method.correction
    assert resolved.origins["method.name"].kind == "method"


def test_what_is_shown_is_toml_again_with_an_origin_on_every_line(request_for):
    resolved = request_for().resolve("baseline")
    text = render(resolved)
    assert compose_again(text) == resolved.flat()
    keys = [line for line in text.splitlines() if "=" in line]
    assert all(".toml" in line.rpartition("#")[2] for line in keys)
    assert len(keys) == len(resolved.flat())


def compose_again(text):
    return {f"{section}.{k}": v for section, table in tomli.loads(text).items() for k, v in table.items()}


def test_all_faults_come_at_once_with_file_key_and_nearest_name(request_for, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        "stray = 1\n[training]\nepochz = 3\nlr0 = -1\nbatch = 1.5\nimgsz = 100\namp = 'yes'\noptimizer = 'Lion'\n"
        "[quantisation]\nbits = 4\n[quantization]\nbits = 9\n[data]\ntrain_images = 0\ntrain_selection = 'random'\n"
    )
    with pytest.raises(ConfigError) as found:
        request_for(config=(str(wrong),)).resolve("baseline")
    lines = str(found.value).splitlines()
    assert found.value.code == 2
    assert len(lines) == 12
    assert all("wrong.toml" in line for line in lines[1:])
    for text in (
        "stray: keys belong into a section such as [training]",
        "training.epochz: unknown key (did you mean epochs?), allowed: epochs, imgsz",
        "training.lr0: must lie in (0, 1], found -1.0",
        "training.batch: expected int, found float 1.5",
        "training.imgsz: must be a multiple of 32, found 100",
        "training.amp: expected bool, found str 'yes'",
        "training.optimizer: ",
        "unknown section [quantisation] (did you mean quantization?)",
        "quantization.bits: ",
        "data.train_images: must be at least 1, or 'all', found 0",
        "data.train_selection: must be hash, first or list:FILE, found 'random'",
    ):
        assert any(text in line for line in lines), text


def test_an_open_section_takes_any_name_and_checks_every_value(request_for, tmp_path):
    resolved = request_for(settings=("interventions.dampening=0.1", "interventions.own=2")).resolve("baseline")
    assert resolved.config.interventions == {"dampening": 0.1, "own": 2.0}
    assert "dampening = 0.1" in render(resolved).partition("[interventions]")[2].partition("[ema]")[0]
    assert "[interventions]" not in render(request_for().resolve("baseline"))
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[interventions]\ndampening = -1\nfreezing = 'yes'\n[interventions.distillation]\nweight = 1\n")
    with pytest.raises(ConfigError) as found:
        request_for(config=(str(wrong),)).resolve("baseline")
    lines = str(found.value).splitlines()
    assert len(lines) == 4
    for text in (
        "interventions.dampening: must be a finite number above 0, found -1.0",
        "interventions.distillation: ",
        "interventions.freezing: ",
        "expected a finite number, found str 'yes'",
    ):
        assert any("wrong.toml" in line and text in line for line in lines), text


@pytest.mark.parametrize(
    ("method", "setting", "text"),
    [
        ("ema+qc", "quantization.bits=32", "has nothing to correct; choose fp32 or fp32+ema"),
        ("learned", "quantization.bits=32", "quantization.learned = true, but 32 bits have no scales"),
        ("learned", "training.optimizer=SGD", "learned scales need Adam or AdamW"),
        ("fp32", "quantization.bits=4", "quantization.bits: the method 'fp32' sets it to 32; under another value"),
        ("ema+bn", "qc.stages=qc", "qc.stages: the method 'ema+bn' sets it to 'bn'"),
        ("baseline", "quantization.bits=16", "must lie in [2, 8], or be 32 for floating point, found 16"),
        ("baseline", "qc.stages=qc,bn", "qc.stages: "),
        ("baseline", "qc.train=delta", "qc.train: "),
        ("baseline", "quantization.scale_lr=0", "must be a finite number above 0"),
    ],
)
def test_parts_that_exclude_each_other_are_refused(request_for, method, setting, text):
    with pytest.raises(ConfigError) as found:
        request_for(settings=(setting,)).resolve(method)
    assert found.value.code == 2
    assert text in str(found.value)
    assert f"--set {setting}: " in str(found.value) or method == "learned"


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"training\.epochs is missing"):
        compose([])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=1", 1),
        ("a.b=1e-3", 1e-3),
        ("a.b=true", True),
        ("a.b=all", "all"),
        ('a.b="1"', "1"),
        ("a.b=list:my file.txt", "list:my file.txt"),
        ("a.b=x=y", "x=y"),
    ],
)
def test_a_setting_is_toml_or_a_bare_word(text, value):
    assert parse_setting(text).content == {"a": {"b": value}}


@pytest.mark.parametrize("text", ["a.b", "ab=1", "=1", "a.b.c=1", ""])
def test_a_setting_without_section_key_and_value_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        parse_setting(text)


@given(st.sets(st.integers(0, 10**6), min_size=1))
def test_seeds_are_read_back(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == sorted(seeds)


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1.5", "0;1", "²"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(ConfigError, match="expected integers from 0"):
        parse_seeds(text)


def test_a_repeated_seed_is_refused():
    with pytest.raises(ConfigError, match="a seed is repeated"):
        parse_seeds("1,1")


def test_choices_and_methods():
    assert parse_methods(" ema , baseline,ema") == ["ema", "baseline"]
    with pytest.raises(ConfigError, match="expected one of auto, never, must; did you mean never"):
        choice("--resume", "nevr", ("auto", "never", "must"))
    with pytest.raises(ConfigError, match="expected names separated by commas"):
        parse_methods(",")


def test_an_unknown_method_names_those_there_are(request_for):
    with pytest.raises(ConfigError, match=r"no method 'emaqc'.*did you mean ema-qc"):
        request_for().resolve("emaqc")


def test_the_profile_follows_the_data(request_for, tmp_path):
    assert request_for().profile_name() == "demo"
    assert request_for(coco_root=str(tmp_path)).profile_name() == "smoke"
    assert request_for(settings=(f"data.coco_root={tmp_path}",)).profile_name() == "smoke"
    assert request_for(coco_root=str(tmp_path), profile="full").profile_name() == "full"
    odd = tmp_path / "odd.toml"
    odd.write_text("data = 1\n")
    with pytest.raises(ConfigError, match=r"data: keys belong into a section such as \[training\]"):
        request_for(config=(str(odd),)).resolve("baseline")
    with pytest.raises(ConfigError, match="did you mean short"):
        request_for(profile="shrot").profile_name()


def test_a_variant_without_shipped_weights_looks_where_pretraining_leaves_them(request_for, tmp_path):
    config = request_for(variant="yolo10s").resolve("baseline").config
    assert config.model.checkpoint == str(tmp_path / "pretrain" / "yolo10s" / "model.pt")


@pytest.mark.parametrize("letter", "nsm")
def test_a_variant_resolves_to_its_architecture_and_official_weights(request_for, tmp_path, letter):
    resolved = request_for(variant=f"yolo10{letter}", coco_root=str(tmp_path), profile="full").resolve("ema+qc")
    model = resolved.config.model
    assert (model.variant, model.architecture) == (f"yolo10{letter}", f"yolov10{letter}")
    assert Path(model.checkpoint).name == f"yolov10{letter}.pt"
    assert resolved.origins["training.lr0"].origin.endswith(f"yolo10{letter}.toml [profiles.full]")


def test_an_unknown_variant_names_those_there_are(request_for):
    with pytest.raises(ConfigError, match=r"no variant 'yolo10x': .*\(there: yolo10m, yolo10n, yolo10s\)"):
        request_for(variant="yolo10x").resolve("baseline")


def test_a_variants_table_for_a_profile_wins_over_the_profile_and_loses_to_what_is_given(request_for, project):
    variant = project / "configs" / "variants" / "yolo10n.toml"
    variant.write_text(variant.read_text() + "\n[profiles.tiny.training]\nepochs = 9\nbatch = 4\n")
    resolved = request_for(profile="tiny", settings=("training.batch=2",)).resolve("baseline")
    assert (resolved.config.training.epochs, resolved.config.training.batch) == (9, 2)
    assert request_for(profile="demo").resolve("baseline").config.training.epochs == 10


def test_a_misspelt_profile_of_a_variant_is_named(request_for, project):
    variant = project / "configs" / "variants" / "yolo10n.toml"
    variant.write_text(variant.read_text() + "\n[profiles.ful.training]\nbatch = 4\n")
    with pytest.raises(
        ConfigError, match=r"yolo10n\.toml: \[profiles\.ful\] 'ful': expected one of .*did you mean full"
    ):
        request_for().resolve("baseline")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("ema.decay=2", "ema.decay: must be 'auto' or lie in (0, 1), found 2"),
        ("ema.tau=-1", "ema.tau: must be 'auto' or a finite number of steps above 0, found -1"),
        ("training.device=banana", "training.device: must be cpu, auto, a CUDA index such as 0, or several"),
        ("model.variant=yolo10m", "model.variant cannot be set; it is chosen by the task, ladder.n|s|m"),
        ("method.weights=ema", "method.weights cannot be set; it is chosen by --methods, a file in configs/methods"),
    ],
)
def test_values_that_a_run_would_refuse_are_refused_at_once(request_for, setting, text):
    with pytest.raises(ConfigError) as found:
        request_for(settings=(setting,)).resolve("baseline")
    assert text in str(found.value)


def test_a_missing_file_of_config_is_named(request_for, tmp_path):
    with pytest.raises(ConfigError) as found:
        request_for(config=(str(tmp_path / "none.toml"),)).resolve("baseline")
    assert str(found.value) == f"--config {tmp_path / 'none.toml'}: there is no such file"


def test_patterns_of_methods_stand_for_the_names_in_their_files(project):
    assert expand_methods(["ema", "paper*", "ema", "b?"], project) == [
        *("ema", "paper", "paper+ema", "paper+ema+qc", "bn"),
    ]
    with pytest.raises(
        ConfigError, match=r"--methods peeers-\*: no method in configs/methods matches \(there: baseline"
    ):
        expand_methods(["peeers-*"], project)


def test_peers_are_compared_with_every_file_that_is_there(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "PROJECT", project)
    for path in (project / "configs" / "methods").glob("peer-*.toml"):
        path.unlink()
    task = tasks.collection()["compare.peers"]
    flags = {"root": str(tmp_path / "runs"), "seeds": "0", "dry_run": True}
    with pytest.raises(SystemExit) as ended:
        task.body(Context(), **flags)
    assert ended.value.code == 2
    assert "error: --methods peer-*: no method in configs/methods matches" in capsys.readouterr().err
    for name in ("peer-a", "peer-a-ema"):
        row = name.replace("-ema", "+ema")
        text = f'[method]\nname = "{row}"\nweights = "raw"\ncorrection = false\n'
        (project / "configs" / "methods" / f"{name}.toml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        task.body(Context(), **flags)
    assert ended.value.code == 0
    assert "methods    baseline, ema, ema+qc, peer-a, peer-a+ema; seeds 0" in capsys.readouterr().out


COCO = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2}, {"id": 3}], "annotations": [{"id": 1}], "categories": []}


def test_images_are_counted_before_they_are_prepared_as_far_as_files_say(request_for, tmp_path):
    def counts(**flags):
        return image_counts(request_for(**flags).resolve("baseline").config, Root(tmp_path / "runs"), "")

    assert counts() == (192, 64)
    assert counts(settings=("data.train_images=100", 'data.val_images="all"')) == (100, 64)
    data = {"coco_root": str(tmp_path), "profile": "full"}
    assert counts(**data) is None
    (tmp_path / "annotations").mkdir()
    for split, images in (("train", COCO["images"]), ("val", COCO["images"][:2])):
        path = tmp_path / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(COCO | {"images": images}))
    assert counts(**data) == (3, 2)
    assert counts(**data | {"settings": ("data.train_images=2",)}) == (2, 2)
    path.write_text("[]")
    assert counts(**data) is None


def test_trust_in_a_checkpoint_reaches_the_specification_and_binds_no_plan(request_for):
    hashed = f"sha256:{'ab' * 32}"
    plain, trusting = request_for().resolve("ema"), request_for(trust_checkpoint=hashed).resolve("ema")
    made = {
        given.config.model.trust_checkpoint: specification(
            given.config,
            run_id="a",
            seed=0,
            series=["raw"],
            dataset=Path("data"),
            checkpoint="own.pt",
            references=None,
            overrides={},
        )["model"]
        for given in (plain, trusting)
    }
    assert made[""] == {"variant": "yolo10n", "checkpoint": "own.pt"}
    assert made[hashed] == made[""] | {"trust_checkpoint": hashed}
    assert make_plan([plain], [0], "shared").keys == make_plan([trusting], [0], "shared").keys


@pytest.mark.parametrize("text", ["sha256:abc", "ab" * 32, f"md5:{'ab' * 32}", f"sha256:{'AB' * 32}"])
def test_trust_in_anything_but_one_hash_is_refused(request_for, text):
    with pytest.raises(ConfigError, match="trust_checkpoint: must be sha256: and 64 hexadecimal digits"):
        request_for(trust_checkpoint=text).resolve("ema")
