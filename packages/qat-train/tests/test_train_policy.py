"""Layer policy: rules in TOML, matched by structure, on the three YOLOv10 sizes."""

import pytest

from qat_train.detector import convolution_sites, load_detector, reparameterise
from qat_train.errors import SpecError
from qat_train.mixed import render_policy
from qat_train.policy import Rule, assign_bits, load_policy


@pytest.fixture(scope="module", params=["yolov10n", "yolov10s", "yolov10m"])
def architecture(request):
    model = load_detector(f"scratch:{request.param}").model
    merged = reparameterise(model)
    return request.param, model, merged


def test_default_policy_keeps_stem_and_head_ends_at_8_bits_and_dfl_in_float(architecture):
    name, model, _ = architecture
    sites = convolution_sites(model)
    bits = assign_bits(load_policy("default"), sites, 4)
    assert sum(width == 8 for width in bits.values()) == 1 + 3 * 4  # stem; 3 scales x (box, class) x (o2m, o2o)
    assert [site for site, width in bits.items() if width is None] == ["model.23.dfl.conv"]
    assert bits["model.0.conv"] == 8
    if name == "yolov10n":
        assert sum(width == 4 for width in bits.values()) == 93


def test_reparameterised_blocks_are_one_in_n_two_in_s_none_in_m(architecture):
    name, model, merged = architecture
    assert len(merged) == {"yolov10n": 1, "yolov10s": 2, "yolov10m": 0}[name]
    modules = dict(model.named_modules())
    for path in merged:
        assert modules[f"{path}.conv"].bias is not None


def test_policy_all_quantizes_every_convolution_but_dfl(architecture):
    _, model, _ = architecture
    bits = assign_bits(load_policy("all"), convolution_sites(model), 3)
    assert {width for site, width in bits.items() if ".dfl." not in site} == {3}
    assert bits["model.23.dfl.conv"] is None


def test_detector_of_another_family_is_covered_too():
    model = load_detector("scratch:yolo11n").model
    bits = assign_bits(load_policy("default"), convolution_sites(model), 4)
    assert sum(width == 8 for width in bits.values()) == 1 + 3 * 2
    assert sum(width is None for width in bits.values()) == 1


def test_later_rules_win_and_kinds_select(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[rule]]\nbits = "base"\n[[rule]]\nkind = "depthwise"\nbits = 6\n')
    policy = load_policy("mine.toml", folder=tmp_path)
    model = load_detector("scratch:yolov10n").model
    sites = convolution_sites(model)
    bits = assign_bits(policy, sites, 4)
    assert {bits[site.name] for site in sites if site.kind == "depthwise"} == {6}
    assert {bits[site.name] for site in sites if site.kind != "depthwise"} == {4}


def test_small_8_raises_layers_of_a_small_share_alone_at_about_a_twentieth_more_bits(architecture):
    name, model, _ = architecture
    sites = convolution_sites(model)
    assert sum(site.share for site in sites) == pytest.approx(1.0)
    default, small = (assign_bits(load_policy(policy), sites, 4) for policy in ("default", "small-8"))
    raised = {layer for layer in small if small[layer] != default[layer]}
    assert raised == {site.name for site in sites if default[site.name] == 4 and site.share <= 0.0035}
    assert {small[layer] for layer in raised} == {8}
    share = {site.name: site.share for site in sites}
    average = [sum(b * share[layer] for layer, b in bits.items() if b) for bits in (default, small)]
    assert 1.03 < average[1] / average[0] < 1.06, name
    assert len(raised) == {"yolov10n": 41, "yolov10s": 37, "yolov10m": 56}[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[rule]]\nbits = 4\nmax_share = 0", "max_share"),
        ("[[rule]]\nbits = 4\nmax_share = 1.5", "max_share"),
        ("", "no [[rule]] found"),
        ('[[rule]]\nbits = "bse"', "bits must be 'base', 'float' or 2 to 8, found 'bse'"),
        ("[[rule]]\nbits = 9", "bits must be 'base', 'float' or 2 to 8, found 9"),
        ("[[rule]]\nbits = true", "bits must be 'base', 'float' or 2 to 8, found True"),
        ('[[rule]]\nplace = "neck"\nbits = 4', "place"),
        ('[[rule]]\nplaces = "stem"\nbits = 4', "unknown field 'places'"),
        ("[[rule]", "line 1"),
    ],
)
def test_wrong_policies_are_refused_with_the_place(tmp_path, text, expected):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_policy("p.toml", folder=tmp_path)
    assert expected in str(caught.value)
    assert "p.toml" in str(caught.value)


def test_unknown_policy_names_the_shipped_ones():
    with pytest.raises(SpecError) as caught:
        load_policy("defualt")
    assert str(caught.value) == (
        "quantization.policy: unknown policy 'defualt'; shipped are all, default, small-8, or give a .toml file"
    )


def test_rules_by_name_combine_with_place_and_kind(tmp_path):
    (tmp_path / "named.toml").write_text(
        '[[rule]]\nbits = "base"\n'
        '[[rule]]\nname = "model.2.*"\nkind = "pointwise"\nbits = 6\n'
        '[[rule]]\nname = "model.2.cv1.conv"\nbits = 8\n'
        '[[rule]]\nname = "model.23.*"\nplace = "head-last"\nbits = "float"\n'
    )
    sites = convolution_sites(load_detector("scratch:yolov10n").model)
    bits = assign_bits(load_policy("named.toml", folder=tmp_path), sites, 3)
    assert bits["model.2.cv1.conv"] == 8
    assert bits["model.2.cv2.conv"] == 6
    assert bits["model.2.m.0.cv1.conv"] == 3  # dense
    assert bits["model.20.cv1.conv"] == 3  # a dot of a pattern is a dot
    assert {bits[s.name] for s in sites if "head-last" in s.places} == {None}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('name = ""\nbits = 4', "Length of 'name' must be >= 1"),
        ("name = 7\nbits = 4", "rule[0]: name: expected str, found int 7"),
        ('nmae = "x"\nbits = 4', "unknown field 'nmae' (did you mean 'name'?)"),
    ],
)
def test_wrong_name_patterns_are_refused_with_file_and_rule(tmp_path, rule, expected):
    (tmp_path / "p.toml").write_text(f"[[rule]]\n{rule}\n")
    with pytest.raises(SpecError) as caught:
        load_policy("p.toml", folder=tmp_path)
    assert "p.toml: rule[0]" in str(caught.value)
    assert expected in str(caught.value)


def test_a_name_that_matches_no_layer_is_refused_with_file_and_rule(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[[rule]]\nbits = "base"\n[[rule]]\nname = "model.99.*"\nbits = 8\n')
    sites = convolution_sites(load_detector("scratch:yolov10n").model)
    with pytest.raises(SpecError) as caught:
        assign_bits(load_policy("p.toml", folder=tmp_path), sites, 4)
    assert str(caught.value) == (
        f"{path}: rule[1]: name 'model.99.*' matches no convolution of this model; `qat-train layers` lists them"
    )


@pytest.mark.parametrize("text", ['[rule]\nbits = "base"\n', 'rule = ["x"]\n', "rule = 3\n"])
def test_rules_that_are_no_list_of_tables_are_refused(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"own\.toml: rule must be a list of tables; write \[\[rule\]\] before each"):
        load_policy(str(path))


def test_a_policy_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "own.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(SpecError, match=r"own\.toml: not UTF-8 at byte 2"):
        load_policy(str(path))


def test_a_policy_that_is_written_out_reads_as_the_same(tmp_path):
    policy = load_policy("small-8")
    (tmp_path / "p.toml").write_text(render_policy(policy, ["model.1.conv"], high=6, comment="two\nlines"))
    read = load_policy("p.toml", folder=tmp_path)
    assert read.rules == (*policy.rules, Rule(name="model.1.conv", bits=6))
