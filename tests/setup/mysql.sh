#!/usr/bin/env bash
# Brings MySQL's own server and client into $TOOLS/mysql, beside the system and not into it. Nothing is
# started here.
#
# Debian's stable releases have MariaDB only. Its unstable suite has MySQL, which wants newer libraries
# than a stable system has: so apt, with lists and a record of its own that know nothing of this system,
# finds the packages and all that they need, checks them by the archive's signature as it always does,
# and they are unpacked into a folder whose own loader starts them. The suite moves on, so this takes
# what it has at the time; its version is said. About 70 MB come, 350 MB are kept.
#
# TOOLS is a folder on the path: `mysql-server` and `mysql-client` come into it. What cannot be had is
# said, and the exit status is 1.
set -euo pipefail

readonly ARCHIVE=http://deb.debian.org/debian
readonly SUITE=sid
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly PACKAGES=(mysql-server-core mysql-client-core)
# Raised when what is made of the packages changes.
readonly LAYOUT=1

: "${TOOLS:?the folder to install into}"
mkdir -p "$TOOLS"
TOOLS=$(realpath "$TOOLS")
readonly ROOT=$TOOLS/mysql
readonly APT=$TOOLS/.mysql-apt

lacking() {
    echo "missing: MySQL: $1"
    exit 1
}

version() { "$TOOLS/mysql-server" --no-defaults --version; }

if [[ "$(cat "$ROOT/complete" 2>/dev/null)" == "$LAYOUT" ]] && version >/dev/null 2>&1; then
    echo "MySQL is here: $(version)"
    exit 0
fi
for program in apt-get dpkg dpkg-deb; do
    command -v "$program" >/dev/null || lacking "it comes as packages of Debian, and $program is not here"
done
[[ "$(dpkg --print-architecture)" == amd64 ]] || lacking "its packages are taken for amd64 only"
[[ -e "$KEYRING" ]] || lacking "no $KEYRING to check packages by: apt-get install debian-archive-keyring"

# An apt to which nothing is installed but perl, which only scripts want that are not started here.
rm -rf "$APT" "$ROOT" "$TOOLS"/mysql-{server,client}
mkdir -p "$APT"/{lists,archives}/partial "$APT/parts"
trap 'rm -rf "$APT"' EXIT
cat >"$APT/status" <<'STATUS'
Package: perl
Status: install ok installed
Version: 999
Architecture: amd64
Multi-Arch: allowed
Maintainer: nobody <nobody@localhost>
Description: not wanted here
STATUS
echo "deb [arch=amd64 signed-by=$KEYRING] $ARCHIVE $SUITE main" >"$APT/sources.list"

own_apt() {
    apt-get -q -y \
        -o Dir::State="$APT" -o Dir::State::lists="$APT/lists" -o Dir::State::status="$APT/status" \
        -o Dir::Cache="$APT" -o Dir::Cache::archives="$APT/archives" \
        -o Dir::Etc::sourcelist="$APT/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::parts="$APT/parts" -o Dir::Etc::preferences=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::Etc::trusted=/dev/null \
        -o Dir::Etc::trustedparts=/dev/null \
        -o Debug::NoLocking=true -o APT::Sandbox::User="$(id -un)" -o APT::Architecture=amd64 \
        -o APT::Architectures::=amd64 -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=2 "$@"
}

own_apt update >"$APT/log" 2>&1 && [[ -n "$(own_apt indextargets 2>/dev/null)" ]] || {
    tail -n 5 "$APT/log"
    lacking "the lists of $ARCHIVE $SUITE are not to be had or not signed by Debian"
}
own_apt install --download-only "${PACKAGES[@]}" >"$APT/log" 2>&1 || {
    tail -n 15 "$APT/log"
    lacking "$SUITE does not have ${PACKAGES[*]} with all that they need today; later it may"
}
for package in "$APT"/archives/*.deb; do
    dpkg-deb -x "$package" "$ROOT"
done
rm -rf "$ROOT"/usr/share/{doc,man,locale,info}

# start NAME PROGRAM: a program of the name that is started by the folder's own loader.
start() {
    local name=$1 program=$2
    cat >"$TOOLS/$name" <<START
#!/bin/sh
root=$ROOT/usr
libraries=\$root/lib/x86_64-linux-gnu:\$root/lib/x86_64-linux-gnu/mysql/private
exec "\$root/lib64/ld-linux-x86-64.so.2" --library-path "\$libraries" "\$root/$program" "\$@"
START
    chmod +x "$TOOLS/$name"
}

[[ -e "$ROOT/usr/lib64/ld-linux-x86-64.so.2" ]] ||
    lacking "its packages look otherwise than expected: no loader in usr/lib64"
start mysql-server sbin/mysqld
start mysql-client bin/mysql
said=$(version 2>&1) || lacking "it does not start: $said"
echo "$LAYOUT" >"$ROOT/complete"
echo "installed: $said ($(du -sh "$ROOT" | cut -f 1))"
