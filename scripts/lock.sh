#!/bin/sh
# Writes the lock files anew: the newest releases that pyproject.toml allows, with the hashes of all
# their files, for every platform and every Python from 3.11 on.  `scripts/lock.sh`, or `make lock`.
#
#   requirements/run.txt   what `make run` installs: the library, the servers, the build backend
#   requirements/dev.txt   that, at the same versions, and what `make test` needs on top
set -eu
cd "$(dirname "$0")/.."

tools=.cache/lock
[ -x "$tools/bin/uv" ] || {
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
}

# Locks name packages, versions and hashes, never where this machine downloads them.
compile() {
    output=$1
    shift
    "$tools/bin/uv" pip compile pyproject.toml "$@" --output-file "$output" --quiet --upgrade \
        --universal --python-version 3.11 --generate-hashes --annotation-style line \
        --no-header --no-emit-index-url --no-emit-find-links
}

compile requirements/run.txt --extra server --group build
compile requirements/dev.txt --extra server --extra postgresql --extra mysql --extra redis \
    --extra aioice --group dev --constraint requirements/run.txt
