#!/usr/bin/env bash
# Installs what the tests of containers start: Docker Engine, Podman, an image registry. Needs root
# where something is missing. Go, for the tests' own service, comes with the machine.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"

has() { command -v "$1" >/dev/null 2>&1; }

wanted_packages() {
    has dockerd && has docker || echo docker.io
    has containerd || echo containerd
    has runc || echo runc
    has iptables || echo iptables
    has podman || echo podman
    has crun || echo crun
    has docker-registry || echo docker-registry
    has setpriv || echo util-linux
    has openssl || echo openssl
    has ip || echo iproute2
    [[ -x /usr/lib/podman/netavark || -x /usr/libexec/podman/netavark ]] || echo netavark
    [[ -x /usr/lib/podman/aardvark-dns || -x /usr/libexec/podman/aardvark-dns ]] || echo aardvark-dns
}

mapfile -t packages < <(wanted_packages)
if ((${#packages[@]} == 0)); then
    echo "nothing to install: dockerd, podman and docker-registry are here"
elif ((EUID == 0)) && has apt-get; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "apt-get update failed; trying with what is known"
    # Nothing is started: the tests start what they need, in folders of their own.
    apt-get install -y -qq --no-install-recommends "${packages[@]}"
else
    echo "missing, to be installed as root: apt-get install ${packages[*]}"
    exit 1
fi

if ! has go; then
    echo "missing: go, to compile the service of the containers' tests"
    exit 1
fi
if ((EUID != 0)); then
    echo "containers are tested as root: Docker Engine and Podman start for root only"
    exit 1
fi
