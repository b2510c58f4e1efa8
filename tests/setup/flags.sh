#!/usr/bin/env bash
# What the tests of feature flags need, in $TOOLS: the servers of Unleash, of flagd and of
# go-feature-flag, its relay. The last two are built from modules that pin each thing they need.
set -euo pipefail

: "${TOOLS:?a folder for tools, on PATH}"
readonly UNLEASH_VERSION=7.5.1
servers=$(cd "$(dirname "${BASH_SOURCE[0]}")/flag-servers" && pwd)
readonly servers

has() { command -v "$1" >/dev/null 2>&1; }

lacking() {
    echo "missing: $1"
    exit 1
}

install_unleash() {
    local folder="$TOOLS/unleash-$UNLEASH_VERSION"
    if [[ -e "$folder/complete" ]]; then
        echo "Unleash is here: $UNLEASH_VERSION"
        return
    fi
    has npm || lacking "node 20 and npm, for Unleash"
    mkdir -p "$folder"
    (cd "$folder" && npm install --no-audit --no-fund --no-package-lock --loglevel=error \
        "unleash-server@$UNLEASH_VERSION") || lacking "unleash-server $UNLEASH_VERSION by npm"
    touch "$folder/complete"
}

# The program NAME in $TOOLS, from PACKAGE as the module of FOLDER pins it with all that it needs.
install_server() {
    local name=$1 folder=$2 package=$3 what
    what=$(cat "$folder/go.mod" "$folder/go.sum" | sha256sum)
    if [[ -x "$TOOLS/$name" && "$(cat "$TOOLS/.$name" 2>/dev/null)" == "$what" ]]; then
        echo "$name is here"
        return
    fi
    has go || lacking "go, for $name"
    go build -C "$folder" -mod=readonly -ldflags "-s -w" \
        -o "$TOOLS/$name" "$package" || lacking "$name: let go reach its module proxy ($package)"
    echo "$what" >"$TOOLS/.$name"
}

install_unleash
install_server flagd "$servers/flagd" github.com/open-feature/flagd/flagd
install_server goff-relay "$servers/relay" \
    github.com/thomaspoignant/go-feature-flag/cmd/relayproxy
