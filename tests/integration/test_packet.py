"""The evidence packet: whole or not, decided by what is in it, and verified by what it carries."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import packets
from tests.support.command import Command

from baton.domain.gate.portable import (
    policy_from_plain,
    policy_to_plain,
    rules_from_plain,
    rules_to_plain,
)
from baton.domain.packet.check import check
from baton.domain.packet.derive import derived
from baton.domain.packet.layout import LAYOUT, Origin, entry_of
from baton.domain.packet.manifest import manifest_of, problems, root_of
from baton.prove.gate import parse
from baton.prove.gate.rules import rules_in
from baton.prove.packet.building import build
from baton.prove.packet.bundle import modules
from baton.prove.packet.gathering import gathered
from baton.prove.packet.standalone import lines_of, read_folder, verified

ROOT = Path(__file__).parents[2]
FINAL = ROOT / "docs" / "reports" / "final-run"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """``baton``."""
    return Command(capsys, tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release check left that leads to GO; nobody writes to it."""
    return packets.good_run(tmp_path_factory.mktemp("good") / "run")


@pytest.fixture(scope="module")
def packet(good: Path) -> Path:
    """The packet of it; nobody writes to it."""
    place = good.parent / "packet"
    assert build(place, good)["decision"] == "GO"
    return place


@pytest.fixture(scope="module")
def files(packet: Path) -> dict[str, bytes]:
    """Its files."""
    found, odd = read_folder(packet)
    assert odd == {}
    return found


@pytest.fixture(scope="module")
def light() -> dict[str, bytes]:
    """The names of the kept packet with little in them, under a manifest of their own."""
    with zipfile.ZipFile(ROOT / "tests" / "data" / "compat-1.0.0" / "packet.zip") as archive:
        names = [one.filename for one in archive.infolist() if not one.is_dir()]
        found = {name: archive.read(name)[:64] for name in names}
    return {**found, "manifest.json": manifest_of(found)}


def run_verifier(packet: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Verify with a Python that has nothing but its standard library."""
    return subprocess.run(
        [sys.executable, "-E", "-S", str(packet / "verify.py"), *words],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=50,
        check=False,
    )


# Whole


def test_a_good_packet_verifies_with_plain_python(packet: Path) -> None:
    """And says loudly what it does not show."""
    done = run_verifier(packet)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert last.startswith("VERIFIED: GO, and ")
    assert "UNSIGNED" in done.stdout
    assert first.startswith("NOT JUDGED AGAIN STAGE-LINT, STAGE-TESTS, REPORT: ")
    assert not list(packet.rglob("__pycache__"))


def test_the_committed_packet_verifies_with_plain_python() -> None:
    """As anybody can try on a fresh clone."""
    done = run_verifier(FINAL)
    assert done.returncode == 0, done.stdout
    decision = json.loads((FINAL / "decision.json").read_text())
    assert f"VERIFIED: {decision['decision']}, and " in done.stdout
    assert (FINAL / "README.md").read_text().startswith(f"# {decision['decision']}: Baton ")


def test_the_verifier_is_the_domain_band(files: dict[str, bytes]) -> None:
    """Its modules, and nothing that was written twice."""
    text = files["verify.py"].decode()
    own = ROOT / "exporter" / "baton" / "domain"
    for name, source in modules().items():
        parts = name.split(".")[2:]
        path = own.joinpath(*parts)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert source == path.read_text(), name
        assert source in text, name


def test_the_same_evidence_gives_the_same_bytes(
    good: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Wherever it lies, and whenever it is built."""
    moved = shutil.copytree(good, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    build(tmp_path / "again", moved)
    assert read_folder(tmp_path / "again")[0] == files


def test_every_file_has_its_place(files: dict[str, bytes]) -> None:
    """And each needed entry is there."""
    assert [name for name in files if entry_of(name) is None] == []
    needed = {entry.path for entry in LAYOUT if entry.needed}
    assert needed <= set(files)
    derived = {entry.path for entry in LAYOUT if entry.origin is Origin.DERIVED}
    assert derived <= needed


# Altered


def test_any_flipped_byte_names_its_file(light: dict[str, bytes]) -> None:
    """In every file, at its beginning, in its middle and at its end."""
    for name, data in light.items():
        for place in {0, len(data) // 2, len(data) - 1}:
            changed = bytearray(data)
            changed[place] ^= 1
            first, *more = problems({**light, name: bytes(changed)})
            assert (first.path, "changed" in first.text) == (name, True), (name, place)
            # A manifest that is wrong is wrong about another file too.
            assert not more or name == "manifest.json"


def test_any_removed_or_added_file_is_named(light: dict[str, bytes]) -> None:
    """Wherever it was, or would be."""
    for name in light:
        left = {other: data for other, data in light.items() if other != name}
        assert name in {one.path for one in problems(left)}
        (found,) = problems({**light, f"{name}.x": b""})
        assert (found.path, found.text.split(":")[0]) == (f"{name}.x", "was added")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_the_verifier_says_which(packet: Path, tmp_path: Path) -> None:
    """In words, and by its exit code; nothing that was put beside it is imported."""
    copy = shutil.copytree(packet, tmp_path / "copy")
    harms: dict[str, tuple[Callable[[Path], Any], str]] = {
        "gate/raw/ledger.jsonl.gz": (_flip, "was changed"),
        "soak/soak.json": (Path.unlink, "is missing"),
        "scenarios/K01/more.json": (lambda path: path.write_text("{}"), "was added"),
        "json.py": (lambda path: path.write_text("raise SystemExit(0)"), "was added"),
        "link": (lambda path: path.symlink_to("README.md"), "no plain file"),
    }
    for name, (harm, _) in harms.items():
        harm(copy / name)
    done = run_verifier(copy)
    assert done.returncode == 1, done.stderr
    for name, (_, says) in harms.items():
        lines = done.stdout.splitlines()
        told = [line for line in lines if line.startswith(f"PROBLEM {name}: ")]
        assert any(says in line for line in told), (name, done.stdout)
    assert "NOT VERIFIED" in done.stdout


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "decision.json": lambda one: one.update(decision="GO with reservations"),
    "criteria.json": lambda one: one[0].update(status="WARN"),
    "risks.json": lambda one: one.pop(),
    "rollback.json": lambda one: one.update(point_of_no_return="never"),
    "gate/decision.json": lambda one: one["criteria"][1].update(status="WARN"),
    "scenarios/K01/result.json.gz": lambda one: one["assertions"][0].update(checked=10**6),
    "scenarios/K01/trial.json.gz": lambda one: one["accepted"].append("t-never"),
    "scenarios/summary.json": lambda one: one["scenarios"][0].update(seed=7, judgement="ERROR"),
    "soak/soak.json": lambda one: one["counts"].update(takeovers=10**6),
    "kill-matrix.json": lambda one: one["bugs"].update(new_bug={}),
    "report/report.json.gz": lambda one: one["lines"][0].update(hash="0" * 64),
    "gate-inputs.json": lambda one: one["policy"]["criteria"][0].update(must=["==", 7]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forger_with_a_new_manifest_is_found(files: dict[str, bytes], name: str) -> None:
    """What does not follow from the evidence is seen though every hash is right."""
    packed = name.endswith(".gz")
    document = json.loads(gzip.decompress(files[name]) if packed else files[name])
    FORGERIES[name](document)
    text = json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"
    forged = {**files, name: gzip.compress(text, mtime=0) if packed else text}
    forged["manifest.json"] = manifest_of(forged)
    assert list(problems(forged)) == []
    found = {one.path for one in check(forged).problems}
    assert found, name
    assert found <= {"decision.json", "criteria.json", "risks.json", "rollback.json", "README.md"}


def test_a_forged_event_is_found(files: dict[str, bytes]) -> None:
    """A ledger that was rewritten no longer holds, and leads to another decision."""
    lines = gzip.decompress(files["ledger.jsonl.gz"]).decode().splitlines()
    event = json.loads(lines[5])
    event["wall"] += 1
    lines[5] = json.dumps(event)
    forged = {**files, "ledger.jsonl.gz": gzip.compress("\n".join(lines).encode(), mtime=0)}
    forged["manifest.json"] = manifest_of(forged)
    checked = check(forged)
    assert checked.decision == "NO-GO"
    assert "decision.json" in {one.path for one in checked.problems}


def test_the_root_is_that_of_rfc_6962() -> None:
    """With its own prefixes, so that no inner node is taken for a leaf."""
    leaves = dict.fromkeys("abcdefg", "0" * 64)
    roots = {root_of(dict(list(leaves.items())[:count])) for count in range(8)}
    assert len(roots) == 8
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of({}) == empty


# Decided


def _replaced(part: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def harm(run: Path) -> None:
        shutil.rmtree(run / part)
        make(run / part)

    return harm


WAIVED = packets.GOOD_POLICY + packets.WAIVERS


def _ledger(place: Path) -> bytes:
    return (place.parent / "ledger.jsonl").read_bytes()


def _without(part: str) -> Callable[[Path], None]:
    return lambda run: shutil.rmtree(run / part) if (run / part).is_dir() else (run / part).unlink()


HARMS: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "a stage fails": (
        lambda run: packets.log(run, {"lint": 0, "tests": 1}),
        *("NO-GO", "STAGE-TESTS", "STAGE_FAILED"),
    ),
    "a stage breaks": (
        lambda run: packets.log(run, {"lint": 3, "tests": 0}),
        *("ERROR", "STAGE-LINT", "STAGE_ERROR"),
    ),
    "a stage was not run": (
        lambda run: packets.log(run, {"lint": 0, "tests": None}, tests="no"),
        *("INCONCLUSIVE", "STAGE-TESTS", "NOT_RUN"),
    ),
    "an output is another": (
        lambda run: (run / "logs" / "lint.txt").write_text("all is well"),
        *("ERROR", "STAGE-LINT", "BROKEN"),
    ),
    "no log": (_without("log.jsonl"), *("INCONCLUSIVE", "STAGES", "NO_EVIDENCE")),
    "a scenario fails": (
        _replaced("scenarios", lambda place: packets.scenarios(place, "K01", fails=True)),
        *("NO-GO", "SCENARIOS-SIM", "BROKEN"),
    ),
    "an engine refuses what no other passes": (
        lambda run: _refuse(run / "scenarios-proc", "S05"),
        *("INCONCLUSIVE", "SCENARIOS-PROC", "NOT_SHOWN"),
    ),
    "no real processes": (
        _without("scenarios-proc"),
        *("INCONCLUSIVE", "SCENARIOS-PROC", "NO_EVIDENCE"),
    ),
    "the soak's faults did not fire": (
        _replaced("soak", lambda place: packets.soak(place, fired=0)),
        *("INCONCLUSIVE", "SOAK", "NOT_SHOWN"),
    ),
    "a cycle of the soak failed": (
        _replaced("soak", lambda place: packets.soak(place, failed=1)),
        *("NO-GO", "SOAK", "BROKEN"),
    ),
    "a planted bug escapes": (
        lambda run: _escape(run / "kill-matrix.json"),
        *("NO-GO", "KILL-MATRIX", "BROKEN"),
    ),
    "no gate": (_without("gate"), *("INCONCLUSIVE", "GATE", "NO_EVIDENCE")),
    "a criterion has no data": (
        _replaced("gate", lambda place: packets.gate(place, _ledger(place), value=None)),
        *("INCONCLUSIVE", "COV-UP", "NO_DATA"),
    ),
    "a criterion fails": (
        _replaced("gate", lambda place: packets.gate(place, _ledger(place), value="0")),
        *("NO-GO", "COV-UP", "THRESHOLD"),
    ),
    "a criterion is waived": (
        _replaced(
            "gate",
            lambda place: packets.gate(place, _ledger(place), value="0", policy=WAIVED),
        ),
        *("GO with reservations", "COV-UP", "WAIVER"),
    ),
    "no ledger": (_without("ledger.jsonl"), *("INCONCLUSIVE", "LEDGER", "NO_EVIDENCE")),
    "another ledger": (
        lambda run: _shorten(run / "ledger.jsonl"),
        *("NO-GO", "LEDGER", "BROKEN"),
    ),
    "no report": (_without("report"), *("INCONCLUSIVE", "REPORT", "NO_EVIDENCE")),
}


def _refuse(place: Path, id_: str) -> None:
    summary = json.loads((place / "summary.json").read_text())
    reason = "refused: it cannot"
    summary["scenarios"].append({"id": id_, "judgement": "INCONCLUSIVE", "reason": reason})
    (place / "summary.json").write_text(json.dumps(summary))
    (place / id_).mkdir()
    (place / id_ / "result.json").write_text("{}")


def _escape(path: Path) -> None:
    matrix = json.loads(path.read_text())
    matrix["bugs"]["name_fence"] = {}
    path.write_text(json.dumps(matrix))


def _shorten(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-9]))


@pytest.mark.parametrize("harm", HARMS)
def test_what_does_not_hold_is_decided_on(good: Path, tmp_path: Path, harm: str) -> None:
    """By the worst of all, with its reason."""
    run = shutil.copytree(good, tmp_path / "run", symlinks=True)
    doing, decision, row, reason = HARMS[harm]
    doing(run)
    made = derived(gathered(run))
    found = json.loads(made["decision.json"])
    assert found["decision"] == decision
    assert (row, reason) in {(one["id"], one["reason"]) for one in found["against"]}, found
    page = made["README.md"].decode()
    assert page.startswith(f"# {decision}: Baton ")
    assert f"**{row}**" in page


# Residual risks and rollback


def risks_of(run: Path) -> dict[str, dict[str, Any]]:
    """By their ids."""
    return {one["id"]: one for one in json.loads(derived(gathered(run))["risks.json"])}


def test_what_is_unsigned_is_said(good: Path, tmp_path: Path) -> None:
    """On the front page and among the risks, with what it leaves unproven; a signature ends it."""
    made = derived(gathered(good))
    page = made["README.md"].decode()
    found = risks_of(good)
    for name in ("UNSIGNED", "SEAL"):
        assert found[name]["kind"] == "unsigned"
        assert found[name]["text"].split(":")[0] in page
    run = shutil.copytree(good, tmp_path / "run")
    about = json.loads((run / "release.json").read_text())
    (run / "release.json").write_text(json.dumps({**about, "signed_by": "Ann"}))
    assert "UNSIGNED" not in risks_of(run)
    assert "SEAL" in risks_of(run)


def test_what_was_not_judged_is_listed(good: Path, tmp_path: Path) -> None:
    """By name: stages that are taken at their word, engines and scenarios that were not tried."""
    assert "STAGE-LINT, STAGE-TESTS, REPORT" in risks_of(good)["TAKEN-AT-THEIR-WORD"]["text"]
    run = shutil.copytree(good, tmp_path / "run")
    shutil.rmtree(run / "scenarios-proc")
    assert "ENGINE-proc" in risks_of(run)
    packets.scenarios(run / "scenarios-proc", "D01")
    assert risks_of(run)["LEFT-OUT-proc"]["text"] == "1 scenarios were not tried by proc: K01."


def test_risks_come_of_facts_and_go_with_them(
    good: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Each with an owner, a trigger, a mitigation and the place of its fact."""
    found = risks_of(good)
    assert all(one["owner"] and one["trigger"] and one["mitigation"] for one in found.values())
    assert all(
        pointer["path"] in files or pointer["sha256"] == ""
        for one in found.values()
        for pointer in one["evidence"]
    )
    always = {"UNSIGNED", "SURVIVOR-recorded_twice", "SOAK-UNFIRED", "SOAK-BOUND", "FEW-TAKEOVERS"}
    always |= {"FEW-SCENARIOS-sim", "FEW-SCENARIOS-proc", "SEAL", "TAKEN-AT-THEIR-WORD"}
    assert always <= set(found)
    assert not {"UNKNOWN-SOURCE", "WAIVER-COV-UP", "ENGINE-proc", "REFUSED-proc-S05"} & set(found)
    run = shutil.copytree(good, tmp_path / "run")
    packets.log(run, {"lint": 0})
    (run / "release.json").write_text("{}")
    shutil.rmtree(run / "gate")
    packets.gate(run / "gate", _ledger(run / "gate"), policy=WAIVED)
    _refuse(run / "scenarios-proc", "S05")
    shutil.rmtree(run / "soak")
    packets.soak(run / "soak", fired=4)
    other = risks_of(run)
    assert {"UNKNOWN-SOURCE", "WAIVER-COV-UP", "REFUSED-proc-S05"} <= set(other)
    assert "SOAK-UNFIRED" not in other
    assert other["WAIVER-COV-UP"]["owner"] == "Bob"
    shutil.rmtree(run / "scenarios-proc")
    packets.scenarios(run / "scenarios-proc", "D01")
    assert risks_of(run)["LEFT-OUT-proc"]["text"] == "1 scenarios were not tried by proc: K01."
    shutil.rmtree(run / "scenarios-proc")
    assert "ENGINE-proc" in risks_of(run)


def test_rollback_names_what_a_person_needs(packet: Path) -> None:
    """Steps, schemas, epochs, the point of no return, and the last drill from the ledger."""
    rollback = json.loads((packet / "rollback.json").read_text())
    assert rollback["previous"] is None
    assert "no earlier release" in rollback["steps"][0]
    assert rollback["schema"]["versions"]["sqlite_data"] >= 3
    assert rollback["drill"]["takeovers"] > 0
    assert 0 < rollback["drill"]["longest_seconds"] < 60
    page = (packet / "README.md").read_text()
    for text in ("Point of no return", "Residual risks", "python3 verify.py", "UNSIGNED"):
        assert text in page


# The command


def test_build_and_verify_by_command(command: Command, good: Path, tmp_path: Path) -> None:
    """Exit codes are those of the decision, and of the verification."""
    place = str(tmp_path / "packet")
    said = command("packet", "build", place, "--from", str(good))
    assert said.code == 0
    assert said.out.startswith("GO: ")
    assert "UNSIGNED" in said.err
    assert command("packet", "verify", place).code == 0
    replaced = command("packet", "build", place, "--from", str(good), "--replace", "--json")
    assert json.loads(replaced.out)["decision"] == "GO"
    assert [path.name for path in tmp_path.iterdir()] == ["packet"]
    # What only somebody with YAML can see: the policy is not the one that was judged.
    files, _ = read_folder(tmp_path / "packet")
    inputs = json.loads(files["gate-inputs.json"])
    inputs["policy"]["owner_of_nothing"] = 1
    (tmp_path / "packet" / "gate-inputs.json").write_text(json.dumps(inputs))
    said = command("packet", "verify", place, "--json")
    assert said.code == 1
    assert "is not what gate/raw/policy.yaml" in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "{none}"), "no such folder"),
        (("--from", "{empty}"), "holds no evidence"),
        (("--from", "{good}", "--sign", "{none}"), "together"),
        (("--from", "{good}", "--sign", "{none}", "--signer", "a"), "no such key"),
        (("--from", "{good}", "--sign", "{key}", "--signer", "a"), "--sign"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    command: Command, good: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """Exit 4."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "key").write_text("no key at all")
    places = {"none": tmp_path / "none", "empty": tmp_path / "empty", "good": good}
    filled = [word.format(**places, key=tmp_path / "key") for word in words]
    assert says in command("packet", "build", str(tmp_path / "out"), *filled).complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "key"]
    assert "no such folder" in command("packet", "verify", str(tmp_path / "none")).complaint


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no OpenSSH here")
def test_a_signature_holds_for_its_signer_alone(good: Path, tmp_path: Path) -> None:
    """And a packet that says it is signed needs one."""
    for name in ("ann", "eve"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
        public = (tmp_path / f"{name}.pub").read_text()
        (tmp_path / f"{name}.signers").write_text(f"ann {public}")
    packet = tmp_path / "packet"
    build(packet, good, key=tmp_path / "ann", signer="ann")

    def said(signers: str = "") -> list[str]:
        return list(lines_of(verified(packet, tmp_path / signers if signers else None)))

    assert "SIGNED by ann" in said("ann.signers")
    assert any("NOT CHECKED" in line for line in said())
    assert any("the signature does NOT HOLD" in line for line in said("eve.signers"))
    assert said("eve.signers")[-1].startswith("NOT VERIFIED")
    (packet / "manifest.json.sig").unlink()
    assert any(line.startswith("PROBLEM manifest.json.sig: is missing") for line in said())


def test_policies_and_rules_are_the_same_without_yaml() -> None:
    """The ones that ship, through JSON and back."""
    path = ROOT / "gates" / "release.yaml"
    policy, _ = parse.load(path)
    assert policy_from_plain(json.loads(json.dumps(policy_to_plain(policy)))) == policy
    rules = [
        rule
        for file in (ROOT / "alerts").glob("*.rules.yaml")
        for rule in rules_in(file.read_bytes())
    ]
    assert rules
    assert rules_from_plain(json.loads(json.dumps(rules_to_plain(rules)))) == rules
