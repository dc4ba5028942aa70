"""tools/prometheus.sh gets Prometheus and Alertmanager, or says in one line how to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.runs import wait_until

from baton.prove.demo.cast import Cast, free_port

ROOT = Path(__file__).parents[2]
#: All that the script itself calls, without any source of Prometheus.
BASICS = ("sh", "cat", "chmod", "dirname", "id", "uname")
#: Writes its arguments down, and does what was asked of the container.
FAKE_DOCKER = '#!/bin/sh\nprintf "%s\\n" "$*" >>"$CALLS"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script, an empty ``.venv``, and a PATH of its own in ``path``."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "prometheus.sh", tmp_path / "tools")
    (tmp_path / "path").mkdir()
    for name in BASICS:
        found = shutil.which(name)
        assert found, name
        (tmp_path / "path" / name).symlink_to(found)
    return tmp_path


def put(file: Path, script: str) -> None:
    """Write an executable script."""
    file.write_text(script)
    file.chmod(0o755)


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``checkout``, seeing only the programs in its ``path``."""
    return subprocess.run(
        command,
        cwd=checkout,
        env={
            "PATH": str(checkout / "path"),
            "CALLS": str(checkout / "calls"),
            "TMPDIR": "/scratch",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_four_run(prometheus: str, promtool: str, alertmanager: str, amtool: str) -> None:
    """The programs that later tests lean on are there and start."""
    for tool in (prometheus, promtool, alertmanager, amtool):
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "version" in done.stdout + done.stderr


def test_alertmanager_finds_its_templates(alertmanager: str, tmp_path: Path) -> None:
    """It loads a configuration, which --version does not try and Debian's does from /usr/share."""
    (config := tmp_path / "config.yaml").write_text(
        "route: {receiver: r}\nreceivers: [{name: r}]\n"
    )
    with Cast(tmp_path, {}) as cast:
        options = (
            f"--config.file={config}",
            f"--storage.path={tmp_path}",
            "--cluster.listen-address=",
        )
        listen = f"--web.listen-address=127.0.0.1:{free_port()}"
        server = cast.start("alertmanager", [alertmanager, *options, listen])
        wait_until(
            lambda: bool(server.exit_code is not None or server.said("(Listening on)")),
            "Alertmanager has started or failed",
        )
        assert server.exit_code is None, server.last_words()


@pytest.mark.parametrize("server", ["alertmanager", "prometheus-alertmanager"])
def test_silent_when_all_are_on_path(checkout: Path, server: str) -> None:
    """What is there already is left alone, under either name."""
    for tool in ("prometheus", "promtool", "amtool", server):
        put(checkout / "path" / tool, "#!/bin/sh\n")
    done = run(checkout, "sh", "tools/prometheus.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_clear_line_when_there_is_no_way(checkout: Path) -> None:
    """Without apt and Docker it fails in one line that says what to do."""
    done = run(checkout, "sh", "tools/prometheus.sh")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "put prometheus, promtool, alertmanager and amtool on PATH" in done.stderr


def test_docker_stands_in_with_the_callers_network_and_folders(checkout: Path) -> None:
    """The wrappers hand every argument to the image, which sees what the caller sees."""
    put(checkout / "path" / "docker", FAKE_DOCKER)
    done = run(checkout, "sh", "tools/prometheus.sh")
    assert done.returncode == 0, done.stderr
    (checkout / "calls").unlink()
    run(checkout, ".venv/bin/promtool", "check", "rules", "a b.yml")
    call = (checkout / "calls").read_text()
    assert call.startswith("run --rm")
    assert "--network host" in call
    assert f"--volume {checkout}:{checkout}" in call
    assert "--volume /scratch:/scratch" in call
    assert f"--workdir {checkout}" in call
    assert "--entrypoint /bin/promtool prom/prometheus:" in call
    assert call.endswith(" check rules a b.yml\n")
    run(checkout, ".venv/bin/amtool", "check-config")
    assert "--entrypoint /bin/amtool prom/alertmanager:" in (checkout / "calls").read_text()
