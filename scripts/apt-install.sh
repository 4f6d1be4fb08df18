#!/bin/sh
# Installs Debian packages and starts none of their services: `scripts/apt-install.sh PACKAGE…`.
# Needs root.  While it runs, policy-rc.d forbids the starting of services; after that whatever
# stood there before stands there again.
set -eu
policy=/usr/sbin/policy-rc.d
aside=$policy.before-natkit

restore() {
    rm -f "$policy"
    if [ -e "$aside" ] || [ -L "$aside" ]; then
        mv "$aside" "$policy"
    fi
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet --yes -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Use-Pty=0 "$@" </dev/null
}

[ "$(id -u)" -eq 0 ] || {
    echo "error: installing $* needs root: run \`apt-get install $*\` as root" >&2
    exit 2
}
echo "natkit: installing with apt-get: $*" >&2

trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$aside"
fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

# The package lists may be missing or old; they are fetched only when the first attempt fails.
apt install --no-install-recommends "$@" >/dev/null 2>&1 || {
    apt update >&2
    apt install --no-install-recommends "$@" >&2
} || {
    echo "error: apt-get could not install $*; what it says stands above" >&2
    exit 1
}
