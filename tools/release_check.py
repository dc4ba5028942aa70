"""Run what a release must pass, and put the evidence into a packet: `make release-check`.

The stages are data (tools/release-check.yaml). What each came to is in the verification log of the
folder that is left, an entry a line, written when the stage is over and never before; a check that
was interrupted goes on with --resume. Ends with the decision of the packet: 0 GO, 1 NO-GO,
2 INCONCLUSIVE, 3 ERROR, 4 for what has to be mended in the command, 130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from release_runner import Interrupted, Runner
from release_stages import Plan, load

from baton.domain.packet.manifest import document_of
from baton.errors import BatonError
from baton.prove.packet.gathering import about_release

ROOT = Path(__file__).resolve().parents[1]
STAGES = ROOT / "tools" / "release-check.yaml"
RUN = "release.out"

EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check."""
    args = _arguments(argv)
    os.chdir(ROOT)
    try:
        return _checked(args)
    except BatonError as error:
        print(f"release-check: {error}", file=sys.stderr)
        return error.exit_code
    except Interrupted:
        print("\nrelease-check: interrupted; go on with ARGS=--resume", file=sys.stderr)
        return EXIT_INTERRUPTED


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=Path, default=STAGES, help="other stages")
    parser.add_argument("--out", type=Path, default=Path(RUN), help=f"default: {RUN}")
    parser.add_argument(
        "--packet", type=Path, help="where the packet goes; one that is there is replaced"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the stages"
    )
    parser.add_argument("--sign", type=Path, metavar="KEY", help="sign with this SSH key")
    parser.add_argument("--signer", metavar="NAME", help="who signs")
    return parser.parse_args(argv)


def _checked(args: argparse.Namespace) -> int:
    given = dict(one.partition("=")[::2] for one in args.set)
    plan = load(args.stages, given)
    release = _release(plan)
    begun = _begin(args.out, release, resume=args.resume)
    runner = Runner(plan, args.out, ROOT, begun)
    entries = runner.run()
    done = {
        **release,
        "began": entries[0]["began"] if entries else None,
        "ended": entries[-1]["ended"] if entries else None,
    }
    (args.out / "release.json").write_bytes(document_of(done))
    shutil.copy(ROOT / "docs" / "reports" / "kill-matrix.json", args.out / "kill-matrix.json")
    return _packet(args)


def _packet(args: argparse.Namespace) -> int:
    place = args.packet or args.out / "packet"
    command = [sys.executable, "-m", "baton", "packet"]
    options = ["--from", str(args.out), "--replace"]
    if args.sign:
        options += ["--sign", str(args.sign), "--signer", args.signer or ""]
    built = subprocess.run([*command, "build", str(place), *options], check=False)
    if built.returncode > 3:  # noqa: PLR2004 - beyond the codes of a decision
        return built.returncode
    verified = subprocess.run([sys.executable, str(place / "verify.py")], check=False)
    # A packet that does not verify decides nothing.
    return 3 if verified.returncode else built.returncode


def _release(plan: Plan) -> dict[str, Any]:
    """What is released, and how it is checked."""
    status = _git("status", "--porcelain")
    return {
        **about_release(),
        "name": "Baton",
        "commit": _git("rev-parse", "HEAD"),
        "tree_clean": status == "" if status is not None else None,
        "previous": _git("describe", "--tags", "--abbrev=0", "HEAD^"),
        "stages": [stage.id for stage in plan.stages],
        "parameters": dict(plan.parameters),
        "source": _source(),
    }


def _source() -> str:
    """A digest of everything in the tree that git knows or would take up."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard") or ""
    whole = hashlib.sha256()
    for name in sorted(filter(None, listed.split("\0"))):
        with suppress(OSError):
            digest = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
            whole.update(f"{digest} {name}\n".encode())
    return whole.hexdigest()


def _git(*words: str) -> str | None:
    """What git says; None where there is none, or no repository."""
    with suppress(OSError):
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip("\n")
    return None


def _begin(run: Path, release: dict[str, Any], *, resume: bool) -> list[dict[str, Any]]:
    """Make the folder ready; returns the entries of stages that need not be run again."""
    state = run / "state.json"
    same = {name: release[name] for name in ("source", "parameters", "stages")}
    if resume and state.is_file():
        was = json.loads(state.read_bytes())
        if was == same:
            with suppress(OSError):
                lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
                return [json.loads(line) for line in lines]
            return []
        print("release-check: the tree or the parameters changed; beginning anew", file=sys.stderr)
    if run.exists() and any(run.iterdir()) and not state.is_file():
        raise _not_ours(run)
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    state.write_bytes(document_of(same))
    return []


def _not_ours(run: Path) -> BatonError:
    from baton.errors import BadInput

    return BadInput(detail=f"--out {run} holds what no release check left; name another folder")


if __name__ == "__main__":
    sys.exit(main())
