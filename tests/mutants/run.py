"""`make mutants`: rules of the machine and of the engine are broken on purpose, one at a time; the simulator must notice.

Decides what the judge is: random worlds from fixed seeds, small worlds in every order of arrival with a crash at every commit,
and tests/testing; the quickest first, up to the first failure. No test that knows a rule by name takes part. The source is
judged as it is before, and must pass. Nothing here is written outside a temporary folder.

    python tests/mutants/run.py              # all
    python tests/mutants/run.py NAME...      # these, without judging the source as it is
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIM = ("-m", "obelisk.testing.sim", "--jobs", "1")
STAGES = {
    "random worlds": (*SIM, "--no-small", "--seeds=30"),
    "small worlds": (*SIM, "--seeds=0", "--small-max=3"),
    "more random worlds": (*SIM, "--no-small", "--seed=30", "--seeds=150"),
    "tests/testing": ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short", "tests/testing"),
}
"""By name: what the interpreter is started with. Each fails with an exit code."""
STAGE_S_MAX = 1_200
"""A stage that takes longer never ends."""
AT_ONCE = 2


@dataclass(frozen=True)
class Verdict:
    """What became of a copy of the source. `caught_by` empty: it passed everything."""

    name: str
    caught_by: str
    said: str
    seconds: float


class DoesNotApply(Exception):
    """The source has changed where a patch changes it."""


def rule_of(patch: Path) -> str:
    """The first line says which rule is broken."""
    return patch.read_text().partition("\n")[0]


def copied(folder: Path) -> Path:
    """A copy of the source in `folder`."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def broken(patch: Path, folder: Path) -> Path:
    """A copy of the source in `folder`, with the patch applied."""
    copied(folder)
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", "--verbose", str(patch)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DoesNotApply(
            f"{patch.name} does not apply any more, since the source has changed there; break the same rule in the source"
            f" as it is now, and write it anew (git diff src), below its first line:\n    {rule_of(patch)}\n{done.stderr}"
        )
    return folder


def judged(name: str, folder: Path) -> Verdict:
    """Runs the judge against the source in `folder`."""
    begun = time.monotonic()
    for stage, arguments in STAGES.items():
        failure = failure_of(arguments, folder)
        if failure:
            return Verdict(name, stage, failure, time.monotonic() - begun)
    return Verdict(name, "", "", time.monotonic() - begun)


def judged_at_once(name: str, folder: Path) -> Verdict:
    """The same for a source that is expected to pass: the stages beside each other."""
    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = dict(
            zip(STAGES, pool.map(lambda arguments: failure_of(arguments, folder), STAGES.values()), strict=True)
        )
    stage = next((stage for stage, failure in failures.items() if failure), "")
    return Verdict(name, stage, failures.get(stage, ""), time.monotonic() - begun)


def failure_of(arguments: tuple[str, ...], folder: Path) -> str:
    """What a stage says when it fails, in one line; empty when it passes."""
    source = folder / "src"
    if "pytest" in arguments:
        arguments = (*arguments, "-o", f"pythonpath={source}", f"--basetemp={folder / 'pytest'}")
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=STAGE_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {STAGE_S_MAX} s"
    if done.returncode == 0:
        return ""
    return summary(done.stdout, done.stderr) or f"exit code {done.returncode}"


def summary(out: str, err: str) -> str:
    """The line of a failure that says most: of pytest its own summary, of an exception its message, of the simulator the
    first line, before the story.
    """
    lines = [line for line in out.splitlines() if line.startswith("FAILED ")] or err.strip().splitlines()
    if not lines:
        return ""
    if any(line.startswith("Traceback ") for line in lines):
        raised = [line for line in lines if line[:1].isalpha() and ": " in line]
        return raised[0] if raised else lines[-1]
    return lines[0]


def shown(verdict: Verdict) -> str:
    what = f"{verdict.caught_by}: {verdict.said[:100]}" if verdict.caught_by else "SURVIVED"
    return f"{verdict.name:42} {verdict.seconds:5.0f} s  {what}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make mutants", description="Break rules on purpose; the simulator must notice."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all, and the source as it is)")
    options = parser.parse_args(arguments)
    patches = sorted(HERE.glob("*.patch"))
    unknown = set(options.names) - {patch.stem for patch in patches}
    if unknown:
        parser.error(f"no such mutants: {', '.join(sorted(unknown))}")
    if options.names:
        patches = [patch for patch in patches if patch.stem in options.names]
    with tempfile.TemporaryDirectory(prefix="obelisk-mutants-") as scratch:
        return run(patches, Path(scratch), as_it_is=not options.names)


def run(patches: list[Path], scratch: Path, *, as_it_is: bool) -> int:
    """All patches, and the source without any first; 1 when something is not as it should be."""
    try:  # all, before anything takes time
        folders = {patch: broken(patch, scratch / patch.stem) for patch in patches}
    except DoesNotApply as error:
        print(error, file=sys.stderr)
        return 1
    if as_it_is:
        verdict = judged_at_once("the source as it is", copied(scratch / "as-it-is"))
        if verdict.caught_by:
            print(
                f"{shown(verdict)}\nThe simulator finds fault with the source itself: mend that first.", file=sys.stderr
            )
            return 1
        print(f"{verdict.name:42} {verdict.seconds:5.0f} s  passes", flush=True)
    survivors = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {pool.submit(judged, patch.stem, folder): patch for patch, folder in folders.items()}
        for job in as_completed(jobs):
            verdict = job.result()
            print(shown(verdict), flush=True)
            if not verdict.caught_by:
                survivors.append(jobs[job])
    for patch in survivors:
        print(f"\n{patch.name} was not noticed: {rule_of(patch)}", file=sys.stderr)
    if not survivors:
        print(f"{len(patches)} rules were broken, each was noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
