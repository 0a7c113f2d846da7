"""The mutants are there and can be made; whether the simulator notices them, `make mutants` finds out."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PATCHES = sorted(HERE.glob("*.patch"))


@pytest.fixture(scope="session")
def mutants() -> Any:
    """The module run.py: test folders are not packages."""
    spec = importlib.util.spec_from_file_location("mutants_run", HERE / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_enough_of_both_kinds() -> None:
    names = [patch.stem for patch in PATCHES]
    assert sum(name.startswith("machine-") for name in names) >= 10
    assert sum(name.startswith("engine-") for name in names) >= 5


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_it_says_which_rule_it_breaks_and_still_applies(patch: Path, mutants: Any, tmp_path: Path) -> None:
    kind, colon, rule = mutants.rule_of(patch).partition(": ")
    assert (kind, colon) == (patch.stem.partition("-")[0], ": ")
    assert len(rule) > 20
    folder = mutants.broken(patch, tmp_path / "copy")
    changed = [line[6:] for line in patch.read_text().splitlines() if line.startswith("+++ b/")]
    assert changed
    for path in changed:
        source = (folder / path).read_text()
        assert source != (mutants.ROOT / path).read_text()
        ast.parse(source)


def test_one_that_does_not_apply_any_more_is_told_with_its_rule(mutants: Any, tmp_path: Path) -> None:
    patch = tmp_path / "old.patch"
    patch.write_text(PATCHES[0].read_text().replace("\n-", "\n-was another line: "))
    with pytest.raises(mutants.DoesNotApply) as caught:
        mutants.broken(patch, tmp_path / "copy")
    assert "old.patch does not apply any more" in str(caught.value)
    assert mutants.rule_of(patch) in str(caught.value)


def test_a_survivor_fails_the_run(
    mutants: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = {"imports": ("-c", "import obelisk.core.machine as m; print(m.__file__)")}
    monkeypatch.setattr(mutants, "STAGES", judge)
    assert mutants.run(PATCHES[:1], tmp_path / "one", as_it_is=True) == 1
    out, err = capsys.readouterr()
    assert "the source as it is" in out.splitlines()[0]
    assert out.splitlines()[1].endswith("SURVIVED")
    assert mutants.rule_of(PATCHES[0]) in err
    script = "import sys, obelisk; sys.exit('Traceback ...\\n  File\\nBad: x' if '/two/' in obelisk.__file__ else 0)"
    monkeypatch.setattr(mutants, "STAGES", {"copies are used": ("-c", script)})
    assert mutants.run(PATCHES[:1], tmp_path / "two", as_it_is=False) == 0
    out, err = capsys.readouterr()
    assert "copies are used: Bad: x" in out
    assert out.endswith("1 rules were broken, each was noticed\n")
    assert err == ""


def test_fault_with_the_source_itself_is_told_first(
    mutants: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "STAGES", {"never passes": ("-c", "raise SystemExit('seed 7: it is broken')")})
    assert mutants.run(PATCHES[:1], tmp_path, as_it_is=True) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "never passes: seed 7: it is broken" in err
    assert "mend that first" in err
