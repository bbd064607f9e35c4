"""requirement.toml: one good text, its one-fault twins with the code and key that each must give, and what is read from the good one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.kernel import requirement
from verifiers.kernel.bundle import requirement_name
from verifiers.kernel.codes import Code, Refusal
from verifiers.kernel.requirement import MAX_BYTES, Requirement, read_bound, read_law_requirement, read_requirement

GOOD = """property   = "asymptotic_stability_roa"
plant      = "pendulum"
controller = "nets/controller.onnx"
lyapunov   = "nets/lyapunov.onnx"
time       = "continuous"
[parameters]
torque_limit = "6"
m = ["0.14", "4/25"]
[domain]
lo = ["-20", "-100"]
hi = ["20", "100"]
[equilibrium]
x = ["0", "0"]
tolerance = ["1e-5", "1/100000"]
[region]
level = "max"
contains = { lo = ["-3", "-5"], hi = ["3", "5"] }
min_volume = "100"
[prover]
method = "quadratic"
degree = 4
[evidence]
minimum = "L2"
"""
DISCRETE = GOOD.replace('"continuous"', '"discrete"\ndt = "1/20"\nmethod = "euler"')
EXPONENTIAL = GOOD.replace("asymptotic", "exponential") + '[decrease]\nrate = "0.5"\n'
PRACTICAL = GOOD.replace("asymptotic_stability_roa", "practical_stability") + '[target]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n'
SHA = "0" * 64
IMITATION = (PRACTICAL.replace("practical_stability", "imitation_iss") + '[attack]\nsize = "0.1"\nnorm = "l2"\n'
             f'[expert]\nfile = {{ path = "e.onnx", sha256 = "{SHA}" }}\nerror = "1/2"\n'
             f'[data]\nfile = {{ path = "d.csv", sha256 = "{SHA}" }}\nerror = "1/3"\n[regret]\nQ = ["1", "0"]\nR = ["1"]\nbound = "2"\n')
GAIN = IMITATION.replace(f'[expert]\nfile = {{ path = "e.onnx", sha256 = "{SHA}" }}', '[expert]\nkind = "lqr"\ngain = [["1", "2"]]')
MPC = IMITATION.replace('[expert]\n', '[expert]\nkind = "mpc"\n').replace('error = "1/2"\n', "")
SAFE = GOOD + '[safe]\nlo = ["-4", "-50"]\nhi = ["4", "50"]\n'


def read(text: str | bytes) -> Requirement:
    return read_requirement(text if isinstance(text, bytes) else text.encode(), "case")


def swap(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} does not stand exactly once"
    return text.replace(old, new)


@pytest.mark.parametrize("text", [GOOD, DISCRETE, EXPONENTIAL, PRACTICAL, SAFE, IMITATION, GAIN, MPC],
                         ids=["good", "discrete", "exponential", "practical", "safe", "imitation", "gain", "mpc"])
def test_the_good_ones_are_read(text):
    assert read(text).name == "case"


# each twin: (text, edit from, edit to, code, place)
TWINS = {
    # keys and types
    "unknown_key": (GOOD, "[evidence]", "verdict = 1\n[evidence]", Code.BAD_REQUIREMENT, "prover.verdict"),
    "unknown_top": (GOOD, "time ", "deployable = true\ntime ", Code.BAD_REQUIREMENT, "deployable"),
    "unknown_region": (GOOD, 'level = "max"', 'levl = "max"', Code.BAD_REQUIREMENT, "region.levl"),
    "unknown_domain": (GOOD, "hi = [\"20\"", 'margin = "1"\nhi = ["20"', Code.BAD_REQUIREMENT, "domain.margin"),
    "escape_in_key": (GOOD, "time ", '"a\\u001bb" = 1\ntime ', Code.BAD_REQUIREMENT, r"'a\x1bb'"),
    "no_property": (GOOD, 'property   = "asymptotic_stability_roa"\n', "", Code.BAD_REQUIREMENT, "property"),
    "no_plant": (GOOD, 'plant      = "pendulum"\n', "", Code.BAD_REQUIREMENT, "plant"),
    "no_time": (GOOD, 'time       = "continuous"\n', "", Code.BAD_REQUIREMENT, "time"),
    "no_domain_hi": (GOOD, 'hi = ["20", "100"]\n', "", Code.BAD_REQUIREMENT, "domain.hi"),
    "property_type": (GOOD, '"asymptotic_stability_roa"', "3", Code.BAD_REQUIREMENT, "property"),
    "property_float": (GOOD, '"asymptotic_stability_roa"', "1.5", Code.BAD_REQUIREMENT, "property"),
    "property_word": (GOOD, "asymptotic_stability_roa", "stable", Code.BAD_REQUIREMENT, "property"),
    "property_planned": (GOOD, "asymptotic_stability_roa", "hybrid_roa", Code.UNSUPPORTED, "property"),
    "time_word": (GOOD, '"continuous"', '"sampled"', Code.BAD_REQUIREMENT, "time"),
    "saturation_word": (GOOD, "time ", 'saturation = "off"\ntime ', Code.BAD_REQUIREMENT, "saturation"),
    "saturation_empty": (GOOD, "time ", 'saturation = ""\ntime ', Code.BAD_REQUIREMENT, "saturation"),
    "method_word": (DISCRETE, '"euler"', '"rk5"', Code.BAD_REQUIREMENT, "method"),
    "method_empty": (DISCRETE, '"euler"', '""', Code.BAD_REQUIREMENT, "method"),
    "evidence_word": (GOOD, '"L2"', '"L4"', Code.BAD_REQUIREMENT, "evidence.minimum"),
    "evidence_empty": (GOOD, '"L2"', '""', Code.BAD_REQUIREMENT, "evidence.minimum"),
    "evidence_number": (GOOD, '"L2"', "2", Code.BAD_REQUIREMENT, "evidence.minimum"),
    "region_list": (EXPONENTIAL, 'rate = "0.5"', "", Code.BAD_REQUIREMENT, "decrease.rate"),
    "toml": (GOOD, "[domain]", "[domain", Code.BAD_REQUIREMENT, "case"),
    "twice": (GOOD, "[domain]", "[domain]\nlo = []", Code.BAD_REQUIREMENT, "case"),
    # numbers
    "nan": (GOOD, '"100"]\n[eq', 'nan]\n[eq', Code.BAD_NUMBER, "domain.hi[1]"),
    "inf": (GOOD, '"100"]\n[eq', 'inf]\n[eq', Code.BAD_NUMBER, "domain.hi[1]"),
    "nan_text": (GOOD, 'min_volume = "100"', 'min_volume = "nan"', Code.BAD_NUMBER, "region.min_volume"),
    "plus": (GOOD, 'min_volume = "100"', 'min_volume = "+100"', Code.BAD_NUMBER, "region.min_volume"),
    "unicode_digit": (GOOD, 'min_volume = "100"', 'min_volume = "١"', Code.BAD_NUMBER, "region.min_volume"),
    "underscore": (GOOD, 'min_volume = "100"', "min_volume = 1_0.0", Code.BAD_NUMBER, "region.min_volume"),
    "huge_exponent": (GOOD, 'min_volume = "100"', 'min_volume = "1e999"', Code.BAD_NUMBER, "region.min_volume"),
    "no_exponent": (GOOD, 'min_volume = "100"', 'min_volume = "1e"', Code.BAD_NUMBER, "region.min_volume"),
    "zero_denominator": (GOOD, 'min_volume = "100"', 'min_volume = "1/0"', Code.BAD_NUMBER, "region.min_volume"),
    "many_digits": (GOOD, 'min_volume = "100"', f'min_volume = "{"1" * 500}"', Code.BAD_NUMBER, "region.min_volume"),
    "many_digits_integer": (GOOD, 'min_volume = "100"', f'min_volume = {"1" * 500}', Code.BAD_NUMBER, "region.min_volume"),
    "boolean": (GOOD, 'min_volume = "100"', "min_volume = true", Code.BAD_REQUIREMENT, "region.min_volume"),
    "date": (GOOD, '["-20", ', "[1979-05-27, ", Code.BAD_REQUIREMENT, "domain.lo[0]"),
    "level_word": (GOOD, '"max"', '"all"', Code.BAD_NUMBER, "region.level"),
    "table_number": (GOOD, '["-20", ', "[{}, ", Code.BAD_REQUIREMENT, "domain.lo[0]"),
    # shapes and boxes
    "short_hi": (GOOD, '["20", "100"]', '["20"]', Code.BAD_SHAPE, "domain.hi"),
    "long_contains": (GOOD, '["-3", "-5"]', '["-3", "-5", "-1"]', Code.BAD_SHAPE, "region.contains.lo"),
    "short_x": (GOOD, 'x = ["0", "0"]', 'x = ["0"]', Code.BAD_SHAPE, "equilibrium.x"),
    "short_tolerance": (GOOD, '["1e-5", "1/100000"]', '["1e-5"]', Code.BAD_SHAPE, "equilibrium.tolerance"),
    "empty_domain": (GOOD, 'lo = ["-20", "-100"]\nhi = ["20", "100"]', "lo = []\nhi = []", Code.BAD_REQUIREMENT, "domain"),
    "flat_domain": (GOOD, '"-20"', '"20"', Code.BAD_REQUIREMENT, "domain.lo[0]"),
    "inverted_domain": (GOOD, '"-100"', '"101"', Code.BAD_REQUIREMENT, "domain.lo[1]"),
    "inverted_contains": (GOOD, '["-3", ', '["4", ', Code.BAD_REQUIREMENT, "region.contains.lo[0]"),
    "inverted_target": (PRACTICAL, '["-1", "-1"]', '["-1", "2"]', Code.BAD_REQUIREMENT, "target.lo[1]"),
    "inverted_safe": (SAFE, '["-4", "-50"]', '["-4", "50"]', Code.BAD_REQUIREMENT, "safe.lo[1]"),
    # contradictions
    "continuous_dt": (GOOD, "time ", 'dt = "1/20"\ntime ', Code.BAD_REQUIREMENT, "dt"),
    "continuous_method": (GOOD, "time ", 'method = "euler"\ntime ', Code.BAD_REQUIREMENT, "method"),
    "discrete_without_dt": (DISCRETE, 'dt = "1/20"\n', "", Code.BAD_REQUIREMENT, "dt"),
    "dt_zero": (DISCRETE, '"1/20"', '"0"', Code.BAD_REQUIREMENT, "dt"),
    "dt_negative": (DISCRETE, '"1/20"', '"-1/20"', Code.BAD_REQUIREMENT, "dt"),
    "exponential_without_rate": (EXPONENTIAL, '[decrease]\nrate = "0.5"\n', "", Code.BAD_REQUIREMENT, "decrease.rate"),
    "rate_without_exponential": (EXPONENTIAL, "exponential", "asymptotic", Code.BAD_REQUIREMENT, "decrease.rate"),
    "rate_zero": (EXPONENTIAL, '"0.5"', '"0"', Code.BAD_REQUIREMENT, "decrease.rate"),
    "rate_negative": (EXPONENTIAL, '"0.5"', '"-0.5"', Code.BAD_REQUIREMENT, "decrease.rate"),
    "discrete_rate_one": (EXPONENTIAL.replace('"continuous"', '"discrete"\ndt = "1/20"\nmethod = "rk4"'), '"0.5"', '"1"',
                          Code.BAD_REQUIREMENT, "decrease.rate"),
    "exponential_level_zero": (EXPONENTIAL, '"max"', '"0"', Code.BAD_REQUIREMENT, "region.level"),
    "practical_without_target": (PRACTICAL, '[target]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n', "", Code.BAD_REQUIREMENT, "target"),
    "target_without_practical": (PRACTICAL, "practical_stability", "forward_invariance", Code.BAD_REQUIREMENT, "target"),
    "imitation_without_attack": (IMITATION, '[attack]\nsize = "0.1"\nnorm = "l2"\n', "", Code.BAD_REQUIREMENT, "attack"),
    "imitation_without_expert": (MPC, '[expert]\nkind = "mpc"\n' f'file = {{ path = "e.onnx", sha256 = "{SHA}" }}\n', "", Code.BAD_REQUIREMENT,
                                 "expert"),
    "imitation_without_controller": (IMITATION, 'controller = "nets/controller.onnx"\n', "", Code.BAD_REQUIREMENT, "controller"),
    "imitation_without_target": (IMITATION, '[target]\nlo = ["-1", "-1"]\nhi = ["1", "1"]\n', "", Code.BAD_REQUIREMENT, "target"),
    "attack_without_imitation": (PRACTICAL, "[target]", '[attack]\nsize = "0.1"\nnorm = "l2"\n[target]', Code.BAD_REQUIREMENT, "attack"),
    "regret_without_imitation": (PRACTICAL, "[target]", '[regret]\nQ = ["1", "1"]\nR = ["1"]\nbound = "1"\n[target]', Code.BAD_REQUIREMENT, "regret"),
    "attack_zero": (IMITATION, '"0.1"', '"0"', Code.BAD_REQUIREMENT, "attack.size"),
    "attack_negative": (IMITATION, '"0.1"', '"-0.1"', Code.BAD_REQUIREMENT, "attack.size"),
    "attack_other_norm": (IMITATION, '"l2"', '"l-infinity"', Code.BAD_REQUIREMENT, "attack.norm"),
    "attack_without_norm": (IMITATION, '\nnorm = "l2"', "", Code.BAD_REQUIREMENT, "attack.norm"),
    "expert_of_two_kinds": (GAIN, 'kind = "lqr"', f'kind = "lqr"\nfile = {{ path = "e.onnx", sha256 = "{SHA}" }}', Code.BAD_REQUIREMENT, "expert"),
    "expert_without_gain": (GAIN, 'gain = [["1", "2"]]\n', "", Code.BAD_REQUIREMENT, "expert"),
    "expert_with_gain_and_file": (IMITATION, 'error = "1/2"', 'error = "1/2"\ngain = [["1", "2"]]', Code.BAD_REQUIREMENT, "expert"),
    "expert_kind": (GAIN, '"lqr"', '"pid"', Code.BAD_REQUIREMENT, "expert.kind"),
    "expert_without_digest": (IMITATION, f'path = "e.onnx", sha256 = "{SHA}"', 'path = "e.onnx"', Code.BAD_REQUIREMENT, "expert.file.sha256"),
    "expert_mpc_with_error": (MPC, "[data]", 'error = "1/2"\n[data]', Code.BAD_REQUIREMENT, "expert.error"),
    "expert_nothing_demanded": (MPC, f'[data]\nfile = {{ path = "d.csv", sha256 = "{SHA}" }}\nerror = "1/3"\n', "", Code.BAD_REQUIREMENT,
                                "expert.error"),
    "data_error_zero": (IMITATION, '"1/3"', '"0"', Code.BAD_REQUIREMENT, "data.error"),
    "regret_weight_negative": (IMITATION, 'Q = ["1", "0"]', 'Q = ["1", "-1"]', Code.BAD_REQUIREMENT, "regret"),
    "regret_weight_of_inputs_negative": (IMITATION, 'R = ["1"]', 'R = ["-1"]', Code.BAD_REQUIREMENT, "regret"),
    "regret_short": (IMITATION, 'Q = ["1", "0"]', 'Q = ["1"]', Code.BAD_SHAPE, "regret.Q"),
    "target_outside": (PRACTICAL, '[target]\nlo = ["-1", "-1"]\nhi = ["1", "1"]', '[target]\nlo = ["20", "-1"]\nhi = ["21", "1"]',
                       Code.BAD_REQUIREMENT, "target"),
    "safe_outside": (SAFE, '["-4", "-50"]\nhi = ["4", "50"]', '["20", "-50"]\nhi = ["40", "50"]', Code.BAD_REQUIREMENT, "safe"),
    "safe_cuts_contains": (SAFE, '["-4", "-50"]', '["-2", "-50"]', Code.BAD_REQUIREMENT, "safe"),
    "safe_without_equilibrium": (SAFE.replace('contains = { lo = ["-3", "-5"], hi = ["3", "5"] }\n', ""), '["-4", "-50"]', '["0", "-50"]',
                                 Code.BAD_REQUIREMENT, "safe"),
    "contains_leaves_domain": (GOOD, '["-3", "-5"]', '["-21", "-5"]', Code.BAD_REQUIREMENT, "region.contains"),
    "volume_too_large": (GOOD, 'min_volume = "100"', 'min_volume = "8000.1"', Code.BAD_REQUIREMENT, "region.min_volume"),
    "radius_too_large": (GOOD, 'min_volume = "100"', 'min_radius = "20.1"', Code.BAD_REQUIREMENT, "region.min_radius"),
    "equilibrium_outside": (GOOD, 'x = ["0", "0"]', 'x = ["0", "101"]', Code.EQUILIBRIUM_OUTSIDE_DOMAIN, "equilibrium.x"),
    "equilibrium_on_edge": (GOOD, 'x = ["0", "0"]', 'x = ["20", "0"]', Code.EQUILIBRIUM_OUTSIDE_DOMAIN, "equilibrium.x"),
    "tolerance_zero": (GOOD, '"1e-5"', '"0"', Code.BAD_REQUIREMENT, "equilibrium.tolerance"),
    "parameter_inverted": (GOOD, '["0.14", ', '["0.17", ', Code.BAD_REQUIREMENT, "parameters.m"),
    "parameter_triple": (GOOD, '["0.14", ', '["0.14", "0.15", ', Code.BAD_REQUIREMENT, "parameters.m"),
    "parameter_table": (GOOD, '["0.14", "4/25"]', "{}", Code.BAD_REQUIREMENT, "parameters.m"),
    "parameters_number": (GOOD, '[parameters]\ntorque_limit = "6"\nm = ["0.14", "4/25"]\n', "parameters = 3\n", Code.BAD_REQUIREMENT, "parameters"),
    "table_in_a_box": (GOOD, '[equilibrium]\nx = ["0", "0"]\ntolerance = ["1e-5", "1/100000"]\n', "[domain.equilibrium]\n",
                           Code.BAD_REQUIREMENT, "domain.equilibrium"),
    "parameter_name": (GOOD, "torque_limit", '"torque limit"', Code.BAD_PARAMETER, "parameters.'torque limit'"),
    # nothing demanded (T05)
    "volume_zero": (GOOD, 'min_volume = "100"', 'min_volume = "0"', Code.BAD_REQUIREMENT, "region.min_volume"),
    "volume_negative": (GOOD, 'min_volume = "100"', 'min_volume = "-1"', Code.BAD_REQUIREMENT, "region.min_volume"),
    "radius_zero": (GOOD, 'min_volume = "100"', 'min_radius = "0"', Code.BAD_REQUIREMENT, "region.min_radius"),
    # paths (T16)
    "empty_path": (GOOD, '"nets/controller.onnx"', '""', Code.UNSAFE_PATH, "controller"),
    "nul_path": (GOOD, "nets/controller.onnx", "a\\u0000b", Code.UNSAFE_PATH, "controller"),
    "newline_path": (GOOD, "nets/lyapunov.onnx", "a\\nPROVED", Code.UNSAFE_PATH, "lyapunov"),
    "backslash_path": (GOOD, "nets/controller.onnx", "..\\\\c.onnx", Code.UNSAFE_PATH, "controller"),
    "plant_as_path": (GOOD, '"pendulum"', '"../pendulum"', Code.BAD_REQUIREMENT, "plant"),
    "plant_file_name": (GOOD, '"pendulum"', '"pendulum.plant.json"', Code.BAD_REQUIREMENT, "plant"),
    "plant_without_digest": (GOOD, '"pendulum"', '{ path = "p.json" }', Code.BAD_REQUIREMENT, "plant.sha256"),
    "plant_short_digest": (GOOD, '"pendulum"', f'{{ path = "p.json", sha256 = "{SHA[1:]}" }}', Code.BAD_REQUIREMENT, "plant.sha256"),
    "plant_upper_digest": (GOOD, '"pendulum"', f'{{ path = "p.json", sha256 = "{"A" * 64}" }}', Code.BAD_REQUIREMENT, "plant.sha256"),
    "plant_unknown": (GOOD, '"pendulum"', f'{{ path = "p.json", sha256 = "{SHA}", name = "p" }}', Code.BAD_REQUIREMENT, "plant.name"),
    "plant_control": (GOOD, '"pendulum"', f'{{ path = "p\\u001b.json", sha256 = "{SHA}" }}', Code.UNSAFE_PATH, "plant.path"),
}



@pytest.mark.threat("T05")
@pytest.mark.threat("T15")
@pytest.mark.threat("T16")
@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_each_one_fault_twin_is_refused_at_its_key(twin):
    text, old, new, code, at = twin
    with pytest.raises(Refusal) as caught:
        read(swap(text, old, new))
    assert (caught.value.code, caught.value.at) == (code, at)
    assert at in str(caught.value) and len(caught.value.message) > 20


@pytest.mark.threat("T05")
@pytest.mark.parametrize("region", ["", 'level = "max"', 'level = "0.98"'], ids=["nothing", "max", "level_of_nothing"])
def test_a_requirement_that_demands_nothing_of_the_region_is_refused(region):
    text = GOOD[:GOOD.index("level =")] + region + "\n" + GOOD[GOOD.index("[prover]"):]
    for case in (swap(text, 'lyapunov   = "nets/lyapunov.onnx"\n', ""), *([] if "0.98" in region else [text])):
        with pytest.raises(Refusal) as caught:
            read(case)
        assert (caught.value.code, caught.value.at) == (Code.BAD_REQUIREMENT, "region")


@pytest.mark.threat("T05")
def test_a_target_that_covers_the_domain_is_refused_and_a_wide_one_is_not():
    wide = swap(PRACTICAL, '[target]\nlo = ["-1", "-1"]\nhi = ["1", "1"]', '[target]\nlo = ["-1", "-1e9"]\nhi = ["1", "1e9"]')
    assert read(wide).target.hi[1] == 10**9
    with pytest.raises(Refusal) as caught:
        read(wide.replace('lo = ["-1", "-1e9"]\nhi = ["1", ', 'lo = ["-20", "-1e9"]\nhi = ["20", '))
    assert (caught.value.code, caught.value.at) == (Code.BAD_REQUIREMENT, "target")


@pytest.mark.threat("T15")
@pytest.mark.parametrize("data", [
    b"\xef\xbb\xbf" + GOOD.encode(), GOOD.encode("utf-16"), GOOD.encode().replace(b"pendulum", b"pend\xffulum"),
    GOOD.encode().replace(b"pendulum", b"pend\xed\xa0\x80ulum"), GOOD.encode() + b"\x00", b"\x00", b"a = " + b"[" * 4000,
], ids=["bom", "utf16", "latin1", "surrogate", "trailing_nul", "nul", "nesting"])
def test_what_is_not_plain_toml_is_refused(data):
    with pytest.raises(Refusal) as caught:
        read(data)
    assert (caught.value.code, caught.value.at) == (Code.BAD_REQUIREMENT, "case")


@pytest.mark.threat("T23")
@pytest.mark.parametrize("data", [
    b"#" * 5000, (b"#" * 1000 + b"\n") * (MAX_BYTES // 1000 + 1), b".".join([b"a"] * 5000) + b" = 1\n",
], ids=["line", "file", "dotted_key"])
def test_resource_bombs_are_declined_before_they_are_parsed(data):
    with pytest.raises(Refusal) as caught:
        read(data)
    assert caught.value.code is Code.TOO_LARGE


VALUES = st.sampled_from(['""', '"x"', "0", "-1", "1.5", "inf", "true", "[]", "[[]]", "{}", '{ lo = ["0"], hi = ["1"] }', "1979-05-27", '["0", "0"]',
                          '["1", 2]', '"1/3"', '"max"', "[{ x = 1 }]", '"\\u0000"', '"discrete"', '"practical_stability"'])


@pytest.mark.threat("T15")
@settings(max_examples=300, deadline=None)
@given(line=st.sampled_from([i for i, line in enumerate(SAFE.splitlines()) if " = " in line]), value=VALUES, text=st.sampled_from([SAFE, PRACTICAL]))
def test_whatever_stands_at_a_key_is_read_or_refused(line, value, text):
    lines = text.splitlines()
    lines[line] = lines[line].split(" = ")[0] + " = " + value
    try:
        assert read("\n".join(lines)).domain.volume() > 0
    except Refusal as no:
        assert no.code.exit_code in (2, 3, 4) and str(no).isprintable()


def test_the_same_bytes_are_read_as_what_they_say():
    r = read(GOOD)
    assert (r.property, r.time, r.dt, r.method, r.saturation, r.minimum) == ("asymptotic_stability_roa", "continuous", None, None, "clip", "L2")
    assert (r.plant, r.plant_sha256, r.controller, r.lyapunov) == ("pendulum", None, "nets/controller.onnx", "nets/lyapunov.onnx")
    assert r.parameters == {"torque_limit": (6, 6), "m": (Fraction(7, 50), Fraction(4, 25))}
    assert (r.domain.lo, r.domain.hi) == ((-20, -100), (20, 100))
    assert r.equilibrium == (0, 0) and r.tolerance == (Fraction(1, 100_000),) * 2
    assert r.contains is not None and r.contains.hi == (3, 5)
    assert (r.level, r.min_radius, r.min_volume, r.rate, r.target, r.safe) == (None, None, 100, None, None, None)
    assert len(r.sha256) == 64 and r.sha256 != read(GOOD + "\n").sha256


@pytest.mark.parametrize(("written", "value"), [("0.1", Fraction(1, 10)), ('"0.1"', Fraction(1, 10)), ("1e-3", Fraction(1, 1000)),
                                                ("7", Fraction(7)), ('"1/3"', Fraction(1, 3)), ('"2.5E+1"', Fraction(25)),
                                                ("0.1000000000000000055511151231257827", Fraction("0.1000000000000000055511151231257827"))])
@pytest.mark.threat("T09")
def test_a_number_is_the_exact_rational_that_is_written(written, value):
    assert read(swap(GOOD, 'min_volume = "100"', f"min_volume = {written}")).min_volume == value


def test_discrete_time_keeps_step_and_map():
    r = read(DISCRETE)
    assert (r.time, r.dt, r.method) == ("discrete", Fraction(1, 20), "euler")
    own = read(swap(swap(DISCRETE, 'method = "euler"', ""), 'dt = "1/20"', ""))
    assert (own.time, own.dt, own.method) == ("discrete", None, None), "a plant that is a map of its own"


def test_rate_target_safe_and_level_are_kept():
    assert read(EXPONENTIAL).rate == Fraction(1, 2)
    assert read(PRACTICAL).target.lo == (-1, -1)
    assert read(SAFE).safe.hi == (4, 50)
    assert read(swap(GOOD, '"max"', '"0.98"')).level == Fraction(49, 50)


def test_a_numeric_level_of_a_named_function_is_a_demand():
    text = GOOD[:GOOD.index("level =")] + 'level = "0.98"\n' + GOOD[GOOD.index("[prover]"):]
    assert read(text).level == Fraction(49, 50)


def test_a_plant_file_and_paths_beside_the_requirement_are_kept():
    r = read(swap(swap(GOOD, '"pendulum"', f'{{ path = "../plants/mine.plant.json", sha256 = "{SHA}" }}'), "nets/controller", "../c/ö"))
    assert (r.plant, r.plant_sha256, r.controller) == ("../plants/mine.plant.json", SHA, "../c/ö.onnx")


def test_a_plant_without_inputs_needs_no_controller():
    assert read(swap(GOOD, 'controller = "nets/controller.onnx"\n', "")).controller is None


@pytest.mark.parametrize(("path", "name"), [
    ("plants/pendulum/requirement.toml", "pendulum"), ("a/big.requirement.toml", "big"), ("a/v1.2.requirement.toml", "v1.2"),
    ("a/big.cert/requirement.toml", "big"), ("pendulum/requirement.cert/requirement.toml", "pendulum"), ("a/../b/requirement.toml", "b"),
    ("my plant/requirement.toml", "my_plant"), ("/requirement.toml", "requirement"), ("a/v1.2.cert/requirement.toml", "v1.2"),
])
def test_the_name_of_a_requirement(path, name):
    assert requirement_name(Path(path)) == name


@pytest.mark.threat("T21")
def test_a_name_cannot_forge_a_line_of_output():
    name = requirement_name(Path("a/x\nPROVED y\x1b[2K.requirement.toml"))
    assert name == "x_PROVED_y__2K"


@pytest.mark.parametrize("path", ["a/certctl.toml", "a/myrequirement.toml", "a/.requirement.toml", "a/requirement.tomlx", "a"])
def test_other_file_names_are_refused(path):
    with pytest.raises(Refusal) as caught:
        requirement_name(Path(path))
    assert caught.value.code is Code.BAD_REQUIREMENT


LAW = """
property   = "pwa_equivalence"
problem    = {{ path = "problem.json", sha256 = "{digest}" }}
controller = "law.json"
loop       = {loop}
[domain]
lo = ["-1", "-1"]
hi = ["1", "1"]
"""


def law(loop: str):
    """A requirement of a law with this loop, read."""
    return read_law_requirement(LAW.format(digest="0" * 64, loop=loop).encode(), "law")


def test_a_loop_is_read_as_exact_matrices():
    found = law('{ A = [["1", "1/2"], ["0", "0.5"]], B = [["0"], ["1/3"]] }')
    assert found.loop == (((Fraction(1), Fraction(1, 2)), (Fraction(0), Fraction(1, 2))), ((Fraction(0),), (Fraction(1, 3),)))
    assert law('{ A = [["1"]], B = [["1", "2"]] }').loop == (((Fraction(1),),), ((Fraction(1), Fraction(2)),))


def test_stability_belongs_to_a_loop():
    text = LAW.format(digest="0" * 64, loop='{ A = [["1"]], B = [["1"]] }')
    read = [read_law_requirement(text.replace("[domain]", f"stable = {word}\n[domain]").encode(), "law") for word in ("true", "false")]
    assert [r.stable for r in (*read, read_law_requirement(text.encode(), "law"))] == [True, False, False]
    alone = "\n".join(line for line in text.splitlines() if "loop" not in line).replace("[domain]", "stable = true\n[domain]")
    with pytest.raises(Refusal) as no:
        read_law_requirement(alone.encode(), "law")
    assert (no.value.code, no.value.at) == (Code.BAD_REQUIREMENT, "stable")


@pytest.mark.parametrize(("loop", "code"), [
    ('{ A = [["1", "0"], ["0", "1"]], B = [["1"]] }', Code.BAD_SHAPE), ('{ A = [["1"]], B = [["1"], ["2"]] }', Code.BAD_SHAPE),
    ('{ A = [], B = [] }', Code.BAD_SHAPE), ('{ A = [["1", "0"], ["0"]], B = [["1"], ["1"]] }', Code.BAD_SHAPE),
    ('{ A = [["1"], ["0", "1"]], B = [["1"], ["1"]] }', Code.BAD_SHAPE), ('{ A = [["1", "0"]], B = [["1"]] }', Code.BAD_SHAPE),
    ('{ A = [["1", "0"], ["0", "1"]], B = [["1"], ["1", "2"]] }', Code.BAD_SHAPE), ('{ A = [["nan"]], B = [["1"]] }', Code.BAD_NUMBER),
    ('{ A = ["1"], B = [["1"]] }', Code.BAD_REQUIREMENT), ('{ A = [["1"]] }', Code.BAD_REQUIREMENT), ('"x"', Code.BAD_REQUIREMENT),
    ('{ A = [["1"]], B = [["1"]], C = [["1"]] }', Code.BAD_REQUIREMENT)])
def test_a_loop_of_other_shapes_is_refused(loop, code):
    with pytest.raises(Refusal) as no:
        law(loop)
    assert no.value.code is code and no.value.at.startswith("loop")


def test_a_requirement_may_be_as_long_as_the_caps_say():
    line = b"#" * requirement.MAX_LINE + b"\n"
    full = line * (requirement.MAX_BYTES // len(line))
    full += b"#" * (requirement.MAX_BYTES - len(full))
    assert len(full) == requirement.MAX_BYTES and requirement.read_table(full, "r") == {} == requirement.read_table(line, "r")
    for much in (full + b"#", b"#" + line):
        with pytest.raises(Refusal) as no:
            requirement.read_table(much, "r")
        assert no.value.code is Code.TOO_LARGE


def test_boxes_that_only_touch_do_not_meet():
    def box(lo: str, hi: str) -> requirement.Box:
        return requirement.Box((Fraction(lo), Fraction(0)), (Fraction(hi), Fraction(1)))

    middle = box("0", "1")
    assert middle.meets(box("1/2", "2")) and middle.meets(box("-1", "1/2")) and middle.meets(middle)
    for other in (box("1", "2"), box("-1", "0"), box("2", "3"), box("-2", "-1")):
        assert not middle.meets(other) and not other.meets(middle)


BOUND = 'property = "lipschitz_bound"\ncontroller = "c.onnx"\nbound = { value = "3", norm = "l2" }\n'


PLAIN = {"loop": (swap(GOOD, '[evidence]\nminimum = "L2"\n', ""), read_requirement), "bound": (BOUND, read_bound),
         "law": (LAW.replace("loop       = {loop}\n", "").format(digest=SHA), read_law_requirement)}


@pytest.mark.parametrize(("text", "reader"), PLAIN.values(), ids=PLAIN)
def test_the_least_evidence_is_what_is_written_and_l2_where_nothing_is(text, reader):
    assert reader(text.encode(), "case").minimum == "L2" == reader(f"{text}[evidence]\n".encode(), "case").minimum
    for level in ("L0", "L3"):
        assert reader(f'{text}[evidence]\nminimum = "{level}"\n'.encode(), "case").minimum == level


def test_each_reader_leaves_the_other_properties():
    texts = {GOOD: read_requirement, LAW.format(digest=SHA, loop='{ A = [["1"]], B = [["1"]] }'): read_law_requirement, BOUND: read_bound}
    for text, own in texts.items():
        for reader in (read_law_requirement, read_bound):
            assert (reader(text.encode(), "case") is None) == (reader is not own)
    assert read_bound(BOUND.encode(), "case").bound == 3 and read_bound(BOUND.encode(), "case").domain is None


def test_a_law_has_one_output_at_least():
    text = LAW.replace("loop       = {loop}", "outputs = {loop}")
    assert read_law_requirement(text.format(digest=SHA, loop=1).encode(), "law").outputs == 1
    for outputs in (0, -1):
        with pytest.raises(Refusal) as no:
            read_law_requirement(text.format(digest=SHA, loop=outputs).encode(), "law")
        assert (no.value.code, no.value.at) == (Code.BAD_REQUIREMENT, "outputs")


def test_a_ball_or_a_volume_that_just_fits_into_the_domain_may_be_demanded():
    assert read(swap(GOOD, 'min_volume = "100"', 'min_radius = "20"')).min_radius == 20
    assert read(swap(GOOD, 'min_volume = "100"', 'min_volume = "8000"')).min_volume == 8000
    assert read(swap(GOOD, '["-3", "-5"], hi = ["3", "5"]', '["-20", "-100"], hi = ["20", "100"]')).contains.hi == (20, 100)


def test_weights_of_an_output_are_a_table_with_an_entry():
    text = GOOD.replace("asymptotic_stability_roa", "l2_gain") + '[gain]\nvalue = "2"\nenergy = "1"\noutput = {}\n'
    assert read(text.replace("= {}", '= { theta = "1/2" }')).gain.output == {"theta": Fraction(1, 2)}
    for output in ("{}", "3", '"theta"', "[]", '["theta"]', '{ theta = "0" }'):
        with pytest.raises(Refusal) as no:
            read(text.replace("= {}", f"= {output}"))
        assert no.value.code is Code.BAD_REQUIREMENT and no.value.at.startswith("gain.output")
