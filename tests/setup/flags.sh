#!/usr/bin/env bash
# What the tests of feature flags need, in $TOOLS: Unleash's own server, and the evaluators of
# go-feature-flag and flagd. Their servers are Go programs whose modules cannot be had everywhere;
# their evaluators come as packages: go-feature-flag's Go code as WebAssembly in its Python provider,
# flagd's as OpenFeature's reference evaluator.
set -euo pipefail

: "${TOOLS:?a folder for tools, on PATH}"
readonly UNLEASH_VERSION=7.5.1
readonly EVALUATORS=(
    gofeatureflag-python-provider==1.3.0
    openfeature-flagd-core==2.0.0
    wasmtime==50.0.1
    PyYAML==6.0.3
)

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

install_evaluators() {
    local folder="$TOOLS/flag-evaluators"
    if [[ "$(cat "$folder/complete" 2>/dev/null)" == "${EVALUATORS[*]}" ]]; then
        echo "the evaluators are here: ${EVALUATORS[*]}"
        return
    fi
    has python3 || lacking "python3, for the evaluators of go-feature-flag and flagd"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        ((EUID == 0)) && has apt-get || lacking "pip, as root: apt-get install python3-pip"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip
    fi
    rm -rf "$folder"
    python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-warn-conflicts \
        --root-user-action=ignore --target "$folder" "${EVALUATORS[@]}" ||
        lacking "the Python packages ${EVALUATORS[*]}"
    echo "${EVALUATORS[*]}" >"$folder/complete"
}

install_unleash
install_evaluators
