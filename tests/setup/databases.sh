#!/usr/bin/env bash
# Installs the databases that tests start: PostgreSQL, MariaDB, PgBouncer; and openssl for their
# certificates. Nothing is started here.
set -euo pipefail

# Debian keeps PostgreSQL's own programs beside the path.
has() {
    command -v "$1" >/dev/null 2>&1 || compgen -G "/usr/sbin/$1" >/dev/null ||
        compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

packages=()
has postgres && has psql || packages+=(postgresql)
has mariadbd && has mariadb-install-db || packages+=(mariadb-server)
has pgbouncer || packages+=(pgbouncer)
has openssl || packages+=(openssl)

if ((${#packages[@]} == 0)); then
    echo "PostgreSQL, MariaDB, PgBouncer and openssl are here"
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "missing: as root: apt-get install --no-install-recommends ${packages[*]}"
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Debian starts what it installs where an init system runs; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e "$policy" ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq || echo "apt-get update failed; trying with what is known"
if ! apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; then
    echo "missing: apt-get could not install ${packages[*]}"
    exit 1
fi
echo "installed: ${packages[*]}"
