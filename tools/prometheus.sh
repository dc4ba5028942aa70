#!/bin/sh
# Sees to it that Prometheus and Alertmanager can be run, each with its tool; silent when they can:
# `sh tools/prometheus.sh`.
#
# Those on PATH come first. Else Debian's or Ubuntu's packages are unpacked into .venv/prometheus,
# without installing them: that needs no root, leaves the system as it was, and starts no service
# (the packages' own scripts would). Their web pages are looked for under /usr/share and so are
# missing; their API is whole. Alertmanager does not even start without its templates there, so
# these few files are the one thing that is put into the system, by root or sudo. Else, on Linux,
# wrappers in .venv/bin run the official images.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
prometheus_image=prom/prometheus:v3.5.0
alertmanager_image=prom/alertmanager:v0.28.1
templates=/usr/share/prometheus/alertmanager

runs() {
    "$1" --version >/dev/null 2>&1
}

# Debian calls the server prometheus-alertmanager.
all_run() {
    runs prometheus && runs promtool && runs amtool &&
        { runs alertmanager || runs prometheus-alertmanager; } && has_templates
}

# An Alertmanager of somebody else's on PATH brings its own.
has_templates() {
    [ ! -e .venv/prometheus ] || [ -e "$templates/default.tmpl" ] || place_templates
}

place_templates() {
    as_root=''
    [ "$(id -u)" = 0 ] || as_root='sudo -n'
    echo "set-up: putting Alertmanager's templates into $templates (once)"
    $as_root mkdir -p "$templates" && $as_root cp ".venv/prometheus$templates"/*.tmpl "$templates"
}

# Downloads packages into $part, with apt lists of our own where the system's are missing or stale.
download() {
    (cd "$part" && apt-get $options -qq download "$@") >>"$part/log" 2>&1
}

from_apt() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    echo "set-up: unpacking the system's packages of Prometheus into .venv (once)"
    part=$PWD/.venv/prometheus.part
    rm -rf "$part"
    mkdir -p "$part/lists/partial" "$part/cache/archives/partial"
    options=''
    if ! download prometheus prometheus-alertmanager; then
        options="-o Dir::State::Lists=$part/lists -o Dir::Cache=$part/cache"
        apt-get $options -qq update >>"$part/log" 2>&1 &&
            download prometheus prometheus-alertmanager || return 1
    fi
    # Newer releases ship promtool in a package of its own; older ones know no such name.
    download promtool || true
    for package in "$part"/*.deb; do
        dpkg-deb --extract "$package" "$part" || return 1
    done
    rm -rf "$part"/*.deb "$part/lists" "$part/cache" .venv/prometheus
    mv "$part" .venv/prometheus
    for tool in prometheus promtool prometheus-alertmanager amtool; do
        ln -sf "../prometheus/usr/bin/$tool" .venv/bin/
    done
    all_run
}

# The host's network and the caller's user, folder and temporary folder: what a command of that name
# would have. Elsewhere than on Linux the host's network is not the caller's, so it is not tried.
from_docker() {
    [ "$(uname)" = Linux ] && docker info >/dev/null 2>&1 || return 1
    for image in "$prometheus_image" "$alertmanager_image"; do
        echo "set-up: pulling the image $image (once)"
        docker pull --quiet "$image" >/dev/null || return 1
    done
    for tool in prometheus promtool alertmanager amtool; do
        case $tool in
        prometheus | promtool) image=$prometheus_image ;;
        *) image=$alertmanager_image ;;
        esac
        cat >".venv/bin/$tool" <<WRAPPER
#!/bin/sh
# Written by tools/prometheus.sh.
tmp=\${TMPDIR:-/tmp}
exec docker run --rm --interactive --network host --user "\$(id -u):\$(id -g)" \\
    --volume "\$PWD:\$PWD" --volume "\$tmp:\$tmp" --workdir "\$PWD" --entrypoint /bin/$tool $image "\$@"
WRAPPER
        chmod +x ".venv/bin/$tool"
    done
    all_run
}

all_run || from_apt || from_docker || {
    echo "No Prometheus here: put prometheus, promtool, alertmanager and amtool on PATH (Debian and" \
        "Ubuntu: apt-get install prometheus prometheus-alertmanager), or start Docker" >&2
    exit 1
}
