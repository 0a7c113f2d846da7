"""The grammar of parameters."""

import pytest

from obelisk.cli.params import NotJson, params_json


@pytest.mark.parametrize(
    ("arguments", "separate", "expected"),
    [
        ((), False, b"[]"),
        ((), True, b"[]"),
        (("[40,10]",), False, b"[40,10]"),
        (('[ 40, "x" ]',), False, b'[ 40, "x" ]'),
        (("40",), True, b"[40]"),
        (("[40]",), True, b"[[40]]"),
        (("40", "10"), False, b"[40,10]"),
        (("[1]", "{}"), False, b"[[1],{}]"),
        (("18446744073709551615", "0.1"), True, b"[18446744073709551615,0.1]"),
        (('"ž"',), True, '["ž"]'.encode()),
    ],
)
def test_what_arguments_mean(arguments, separate, expected):
    assert params_json(arguments, separate=separate) == expected


def test_a_file_stands_for_what_it_holds(tmp_path):
    (tmp_path / "all.json").write_text("[1,2]\n")
    (tmp_path / "one.json").write_text('{"a":1}')
    (tmp_path / "marked.json").write_text("\ufeff[3]")
    assert params_json((f"@{tmp_path}/all.json",), separate=False) == b"[1,2]\n"
    assert params_json((f"@{tmp_path}/marked.json",), separate=False) == b"[3]"
    assert params_json((f"@{tmp_path}/one.json", "2"), separate=False) == b'[{"a":1},2]'
    assert params_json((f"@{tmp_path}/one.json",), separate=True) == b'[{"a":1}]'


@pytest.mark.parametrize(
    ("arguments", "separate", "message"),
    [
        (("40",), False, "must be a JSON array"),
        (("[40",), False, "cannot parse Parameters"),
        (("fibo",), True, "cannot parse 1-th parameter .* it was: fibo"),
        (("1", "2", "NaN"), False, '3-th parameter .* write "NaN"'),
        (("1", "2,3"), False, "2-th parameter"),
        (("@/nowhere/at/all",), False, "cannot read /nowhere/at/all: .*No such file"),
        (("[" * 100_000,), False, "cannot parse"),
    ],
)
def test_what_makes_no_sense(arguments, separate, message):
    with pytest.raises(NotJson, match=message):
        params_json(arguments, separate=separate)
