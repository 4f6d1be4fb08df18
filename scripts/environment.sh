#!/bin/sh
# Makes .venv and installs natkit into it: `scripts/environment.sh run`, or `dev` for the tests too.
# Versions and hashes come from requirements/*.txt.  Quick when nothing has changed.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
kind=$1
lock=requirements/$kind.txt
system_python=${PYTHON:-python3}
python=.venv/bin/python

fail() {
    echo "error: $*" >&2
    exit 2
}

# Exit status 0 when that interpreter is one that natkit runs on.
is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# What an installation depends on; the path, because the commands in .venv/bin name it.
fingerprint() {
    {
        echo "$root"
        cat "requirements/$1.txt" pyproject.toml natkit/__init__.py scripts/environment.sh
    } | sha256sum
}

is_installed() {
    [ -f ".venv/installed-$1" ] && [ "$(cat ".venv/installed-$1")" = "$(fingerprint "$1")" ]
}

make_venv() {
    command -v "$system_python" >/dev/null ||
        fail "$system_python is not installed: natkit needs Python 3.11 or newer"
    is_recent "$system_python" ||
        fail "natkit needs Python 3.11 or newer and $system_python is $("$system_python" -V 2>&1); name another by PYTHON=… make"
    if ! "$system_python" -c 'import ensurepip, venv' 2>/dev/null; then
        [ "$(id -u)" -eq 0 ] && [ "$system_python" = python3 ] && command -v apt-get >/dev/null ||
            fail "the package python3-venv is not installed: run \`apt-get install python3-venv\` as root, then this again"
        scripts/apt-install.sh python3-venv
    fi
    "$system_python" -m venv --clear .venv
}

if is_recent $python; then
    if is_installed "$kind" || { [ "$kind" = run ] && is_installed dev; }; then
        exit 0
    fi
fi
is_recent $python && $python -c 'import pip' 2>/dev/null || make_venv

echo "natkit: installing $(grep -c '==' "$lock") packages from $lock into .venv" >&2
rm -f .venv/installed-*
pip() {
    $python -m pip install --quiet --disable-pip-version-check --no-input "$@" ||
        fail "pip could not install into .venv; what it says stands above"
}
pip --require-hashes --only-binary :all: --requirement "$lock"
pip --no-deps --no-build-isolation --editable .
fingerprint "$kind" >".venv/installed-$kind"
