#!/usr/bin/env bash
# Installs what tests of drills use besides the page's and the terminal's (page.sh): `ip`, to have
# loopback in a network of their own. Nothing is started here.
set -euo pipefail

has() { command -v "$1" >/dev/null 2>&1; }

if has ip || [[ -x /usr/sbin/ip || -x /sbin/ip ]]; then
    exit 0
fi
if ((EUID != 0)) || ! has apt-get; then
    echo "missing: as root: apt-get install --no-install-recommends iproute2"
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || echo "apt-get update failed; trying with what is known"
if ! apt-get install -y -qq --no-install-recommends iproute2 >/dev/null; then
    echo "missing: apt-get could not install iproute2"
    exit 1
fi
