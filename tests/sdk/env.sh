#!/bin/sh
# Owns target/py: one Python environment per requirements file, the Node SDK, and the test model. Knows nothing of the tests.
#
#   tests/sdk/env.sh            makes what is missing or out of date; a second run changes nothing
#   PYTHON=python3.13 tests/sdk/env.sh
#
# An environment is kept as long as its requirements and the Python beneath it are the same.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
py=${CARGO_TARGET_DIR:-target}/py
packages="python3 python3-venv"

usable() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

need_python() {
    usable && return
    command -v apt-get >/dev/null || { echo "sdk: $python has no venv and ensurepip; install $packages with your package manager" >&2; exit 1; }
    [ "$(id -u)" = 0 ] || { printf 'sdk: %s has no venv; run this, then try again:\n\n    sudo apt-get install -y --no-install-recommends %s\n' "$python" "$packages" >&2; exit 1; }
    # shellcheck disable=SC2086
    apt-get update >&2 && apt-get install -y --no-install-recommends $packages >&2
    usable || { echo "sdk: $packages are installed, but $python still has no venv; name another with PYTHON=/usr/bin/python3" >&2; exit 1; }
}

make_env() {
    list=tests/sdk/requirements/$1.txt
    here=$py/$1
    mark=$({ "$python" -c 'import sys; print(sys.version, sys.base_prefix)'; pwd; cat "$list"; } | sha256sum)
    [ "$(cat "$here/.complete" 2>/dev/null)" = "$mark" ] && return
    echo "sdk: making $here" >&2
    rm -rf "$here"
    "$python" -m venv "$here"
    "$here/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement "$list" ||
        { echo "sdk: could not install $list into $here; the lines above say why" >&2; exit 1; }
    echo "$mark" >"$here/.complete"
}

make_node() {
    list=tests/sdk/node/package-lock.json
    here=$py/node
    command -v npm >/dev/null || { echo "sdk: install nodejs and npm with your package manager" >&2; exit 1; }
    mark=$({ node --version; cat "$list"; } | sha256sum)
    [ "$(cat "$here/.complete" 2>/dev/null)" = "$mark" ] && return
    echo "sdk: making $here" >&2
    rm -rf "$here"
    mkdir -p "$here"
    cp tests/sdk/node/package.json "$list" "$here"
    (cd "$here" && npm ci --ignore-scripts --no-audit --no-fund >&2) ||
        { echo "sdk: could not install $list into $here; the lines above say why" >&2; exit 1; }
    echo "$mark" >"$here/.complete"
}

need_python
mkdir -p "$py"
exec 9>"$py/.lock"
flock 9
for list in tests/sdk/requirements/*.txt; do
    make_env "$(basename "$list" .txt)"
done
make_node
model=$py/ember-test.gguf
if [ ! -e "$model" ] || [ tests/sdk/write_model.py -nt "$model" ] || [ "$py/llama/.complete" -nt "$model" ]; then
    "$py/llama/bin/python" tests/sdk/write_model.py "$model"
fi
