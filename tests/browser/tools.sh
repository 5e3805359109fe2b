#!/bin/sh
# Owns what the browser tests drive and judge with: Debian's Chromium, and axe-core in target/py/axe.
#
#   tests/browser/tools.sh      installs what is missing (packages of Debian's as root); a second run changes nothing
set -eu
cd "$(dirname "$0")/../.."
axe=${CARGO_TARGET_DIR:-target}/py/axe
axe_version=4.14.1
axe_sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
script=$axe/node_modules/axe-core/axe.min.js

is_axe() { echo "$axe_sha256  $script" | sha256sum --check --status 2>/dev/null; }

missing=
[ -x /usr/bin/chromium ] || missing="chromium fonts-dejavu-core"
is_axe || command -v npm >/dev/null || missing="$missing nodejs npm"
if [ -n "$missing" ]; then
    install="apt-get install -y --no-install-recommends $missing"
    command -v apt-get >/dev/null || { echo "browser: install $missing with your package manager" >&2; exit 1; }
    if [ "$(id -u)" != 0 ]; then
        printf 'browser: packages are missing; run this, then try again:\n\n    sudo %s\n' "$install" >&2
        exit 1
    fi
    echo "browser: installing $missing" >&2
    apt-get update >&2 && $install >&2
fi

if ! is_axe; then
    echo "browser: making $axe" >&2
    rm -rf "$axe"
    mkdir -p "$axe"
    npm install --prefix "$axe" --no-save --ignore-scripts --no-audit --no-fund "axe-core@$axe_version" >&2
    is_axe || { echo "browser: $script is not axe-core $axe_version as it was pinned" >&2; exit 1; }
fi
