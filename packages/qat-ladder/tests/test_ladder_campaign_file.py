"""The file of a campaign: what it says, what it may not say, and what a call changes in it."""

import textwrap

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qat_artifacts
from qat_ladder.campaign import file
from qat_ladder.campaign.file import Block, Campaign, Rows, read_file
from qat_ladder.campaign.override import Override, override, parse_budget
from qat_ladder.campaign.units import expand, open_blocks, settings_of
from qat_ladder.compose import flatten, parse_setting
from qat_ladder.errors import ConfigError

SMALL = """
name = "small"
[[block]]
name = "a"
[[block.rows]]
methods = ["baseline"]
seeds = [0]
"""


@pytest.fixture
def read(project, tmp_path):
    """Read a text as a campaign's file."""

    def make(text):
        path = tmp_path / "campaign.toml"
        path.write_text(text)
        return read_file(path, project)

    return make


def test_the_example_in_the_documentation_is_read_as_it_says(read, tmp_path):
    text = textwrap.dedent(file.__doc__.partition("\n\n")[2].rpartition("\n\nPaths")[0])
    found = read(text)
    assert (found.name, found.budget_hours, found.command) == (
        "first",
        10.0,
        ("--file", str(tmp_path / "campaign.toml")),
    )
    (block,) = found.blocks
    assert (block.name, block.variant, block.profile) == ("coco128-w4", "yolo10n", "full")
    assert block.set == {"training.imgsz": 320, "quantization.bits": 4}
    assert block.rows == (
        Rows(methods=("baseline", "ema", "ema+qc"), seeds=(0, 1, 2), tier=1),
        Rows(methods=("dampening", "freezing"), seeds=(0, 1), tier=2),
    )


def test_dotted_keys_may_be_quoted_or_stand_in_tables(read):
    quoted = read(SMALL + '[block.set]\n"training.imgsz" = 96\n')
    nested = read(SMALL + "[block.set.training]\nimgsz = 96\n")
    assert quoted.blocks == nested.blocks
    assert quoted.blocks[0].set == {"training.imgsz": 96}


def test_a_pattern_stands_for_the_names_of_methods(read):
    found = read(SMALL.replace('["baseline"]', '["learned+ema*", "baseline", "learned+ema"]'))
    assert found.blocks[0].rows[0].methods == ("learned+ema", "learned+ema+bn", "learned+ema+qc", "baseline")


def test_every_shipped_campaign_resolves(project, tmp_path, monkeypatch):
    monkeypatch.setenv("QAT_TEST_DATA", str(tmp_path / "data"))
    files = sorted((project / "configs" / "campaigns").glob("*.toml"))
    assert files
    for path in files:
        blocks = open_blocks(read_file(path, project), project=project, root=tmp_path / "root")
        assert all(block.units for block in blocks)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (("seeds = [0]", "seeds = [0]\nmethds = []"), ["block[0].rows[0]: unknown field 'methds'", "'methods'"]),
        (('name = "small"', 'nam = "small"'), ["unknown field 'nam' (did you mean 'name'?)"]),
        (("seeds = [0]", 'seeds = "0"'), ["block[0].rows[0].seeds: expected a list"]),
        (("seeds = [0]", "seeds = [0, 0]"), ["seeds [0, 0]: expected different integers from 0"]),
        (("seeds = [0]", "seeds = [-1]"), ["seeds [-1]: expected different integers from 0"]),
        (("seeds = [0]", "seeds = []"), ["seeds: none is named"]),
        (('["baseline"]', "[]"), ["methods: none is named"]),
        (("seeds = [0]", "seeds = [0]\ntier = 0"), ["tier 0: expected 1, the first, or more"]),
        (("seeds = [0]", "seeds = [0]\ntier = 1.0"), ["tier: expected int, found float"]),
        (('name = "a"', 'name = "../a"'), ["name '../a': it becomes a folder"]),
        (('name = "small"', 'name = "small"\nbudget_hours = 0'), ["budget_hours 0.0: expected hours above 0"]),
        (('["baseline"]', '["peeer-*"]'), ["block a: --methods peeer-*: no method in configs/methods matches"]),
        (
            ('name = "a"', 'name = "a"\nvariant = "yolo10m"'),
            ["'yolo10m': expected yolo10n or yolo10s", "behind the gate"],
        ),
        ((SMALL, 'name = "small"\nblock = 3'), ["block: expected a list, found int 3"]),
        ((SMALL, 'name = "small"\nblock = [3]'), ["block[0]: expected an object, found int 3"]),
        ((SMALL, 'name = "small"'), ["required field 'block' is missing"]),
    ],
)
def test_a_fault_is_named_with_file_and_key(read, tmp_path, change, texts):
    text = SMALL.replace(*change)
    assert text != SMALL
    with pytest.raises(ConfigError) as found:
        read(text)
    assert found.value.code == 2
    for part in (str(tmp_path / "campaign.toml"), *texts):
        assert part in str(found.value)


def test_all_faults_are_named_at_once(read):
    with pytest.raises(ConfigError) as found:
        read(SMALL.replace('name = "a"', "name = 3").replace("seeds = [0]", "seeds = [1.5]"))
    assert "block[0].name" in str(found.value)
    assert "block[0].rows[0].seeds[0]" in str(found.value)


def test_a_file_that_is_not_there_or_no_toml(project, tmp_path):
    with pytest.raises(ConfigError, match=r"--file .*none\.toml: No such file .*; see configs/campaigns for examples"):
        read_file(tmp_path / "none.toml", project)
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ConfigError, match=r"broken\.toml: Invalid value"):
        read_file(tmp_path / "broken.toml", project)


def test_two_blocks_have_two_names_and_two_recipes(read):
    second = SMALL.partition("\n[[block]]")[2]
    with pytest.raises(ConfigError, match="two blocks are named a; each is a run root of its own"):
        read(f"{SMALL}[[block]]{second}")
    with pytest.raises(ConfigError, match="blocks a and b differ in nothing but their rows"):
        read(SMALL + "[[block]]" + second.replace('"a"', '"b"'))


def test_a_wrong_key_of_a_block_is_named_with_the_block_and_the_nearest(read, project, tmp_path):
    campaign = read(SMALL + "[block.set]\ntraining.imgz = 96\n")
    with pytest.raises(ConfigError) as found:
        open_blocks(campaign, project=project, root=tmp_path / "root")
    assert "block a: wrong configuration" in str(found.value)
    assert "training.imgz: unknown key (did you mean imgsz?)" in str(found.value)


def test_environment_variables_are_filled_in_and_a_missing_one_is_usage(monkeypatch, read, project, tmp_path):
    monkeypatch.setenv("SOMEWHERE", "/data")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert expand("$SOMEWHERE/a${SOMEWHERE}$$", "x") == "/data/a/data$"
    with pytest.raises(ConfigError, match=r"x: 5\$: a \$ that names no variable; write \$\$ for the character"):
        expand("5$", "x")
    campaign = read(SMALL.replace('name = "a"', 'name = "a"\ncoco_root = "$NOWHERE/coco"'))
    with pytest.raises(ConfigError) as found:
        open_blocks(campaign, project=project, root=tmp_path)
    assert str(found.value) == (
        "block a: coco_root: $NOWHERE/coco: the environment variable NOWHERE is not set; export NOWHERE=..."
    )
    assert found.value.code == 2


values = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$"), max_size=12),
    st.sampled_from(["mse", "true", "4", "1e3", "list:a b", "nan", "-", " a", "2020-01-01"]),
)


@given(value=values)
def test_a_value_of_the_file_is_the_value_that_set_reads(value):
    block = Block(name="a", set={"training.x": value}, rows=(Rows(methods=("baseline",), seeds=(0,)),))
    (text,) = settings_of(block)
    (read,) = flatten(parse_setting(text).content).values()
    assert (type(read), read) == (type(value), value)


def rows(*methods, seeds=(0,), tier=1):
    return Rows(methods=methods, seeds=seeds, tier=tier)


def campaign_of(*blocks):
    return Campaign(name="c", command=("--file", "c.toml"), budget_hours=None, blocks=blocks)


THREE = campaign_of(
    Block(
        name="coco-w4", title="COCO", variant="yolo10n", coco_root="c", checkpoint="c.pt", profile="full",
        set={"training.imgsz": 320, "quantization.bits": 4}, rows=(rows("baseline", "ema"),),
    ),
    Block(
        name="bccd-w4", title="BCCD", variant="yolo10n", coco_root="b", checkpoint="b.pt", profile="short",
        set={"training.imgsz": 192, "data.seed": 1, "quantization.bits": 4},
        rows=(rows("baseline"), rows("fp32", tier=2)),
    ),
    Block(
        name="bccd-w3", variant="yolo10n", coco_root="b", checkpoint="b.pt", profile="short",
        set={"training.imgsz": 192, "quantization.bits": 3}, rows=(rows("ema"),),
    ),
)  # fmt: skip


def test_other_data_replace_what_was_chosen_for_the_old_ones_and_join_what_is_then_the_same():
    found, notes = override(THREE, Override(coco_root="/coco", profile="full", settings=("training.epochs=3",)))
    assert notes == ["bccd-w4 is coco-w4 on these data: its rows join that block"]
    assert [block.name for block in found.blocks] == ["coco-w4", "bccd-w3"]
    first, second = found.blocks
    assert (first.title, first.coco_root, first.checkpoint, first.profile) == ("", "/coco", "", "full")
    assert first.set == {"quantization.bits": 4, "training.epochs": 3}
    assert first.rows == (rows("baseline", "ema"), rows("baseline"), rows("fp32", tier=2))
    assert second.set == {"quantization.bits": 3, "training.epochs": 3}
    flags = ("--profile", "full", "--coco-root", "/coco", "--set", "training.epochs=3")
    assert found.command == ("--file", "c.toml", *flags)


def test_without_other_data_flags_only_add_to_the_blocks():
    found, notes = override(THREE, Override(profile="tiny", device="cpu", settings=("training.imgsz=64",)))
    assert notes == []
    assert len(found.blocks) == 3
    assert found.blocks[1].set == {
        "training.imgsz": 64, "data.seed": 1, "quantization.bits": 4, "training.device": "cpu",
    }  # fmt: skip
    assert {(b.title, b.checkpoint, b.profile) for b in found.blocks} == {
        ("COCO", "c.pt", "tiny"), ("BCCD", "b.pt", "tiny"), ("", "b.pt", "tiny"),
    }  # fmt: skip
    assert override(THREE, Override())[0] == THREE
    with pytest.raises(ConfigError, match=r"--set imgsz: expected section\.key=value"):
        override(THREE, Override(settings=("imgsz",)))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "ten"])
def test_a_budget_is_hours_above_0(text):
    with pytest.raises(ConfigError) as found:
        parse_budget(text)
    assert str(found.value) == f"--budget {text!r}: expected hours above 0, such as 10 or 0.5"
    assert (parse_budget(""), parse_budget("0.5")) == (None, 0.5)


def test_the_record_is_read_again_as_it_was_written(tmp_path):
    path = tmp_path / "campaign.json"
    qat_artifacts.write(path, attrs.evolve(THREE, budget_hours=2.5), created_by="test 1")
    assert qat_artifacts.read(path, Campaign) == attrs.evolve(THREE, budget_hours=2.5)
