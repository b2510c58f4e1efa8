#!/usr/bin/env bash
# What the tests of the HTTP API need, in $TOOLS: schemathesis, which asks every route of the OpenAPI
# document whatever the document allows and what it does not.
set -euo pipefail
: "${TOOLS:?the folder to install into}"

readonly VERSION=4.32.5
readonly VENV="$TOOLS/schemathesis-$VERSION"

if [[ -x "$TOOLS/schemathesis" && "$("$TOOLS/schemathesis" --version 2>/dev/null)" == *"$VERSION"* ]]; then
    echo "schemathesis $VERSION is here"
    exit 0
fi
if ! command -v python3 >/dev/null || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "missing: as root: apt-get install --no-install-recommends python3 python3-venv"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "apt-get update failed; trying with what is known"
    apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
fi
mkdir -p "$TOOLS"
rm -rf "$VENV"
python3 -m venv "$VENV"
if ! "$VENV/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$VERSION"; then
    echo "missing: schemathesis $VERSION could not be installed by pip"
    exit 1
fi
ln -sf "$VENV/bin/schemathesis" "$TOOLS/schemathesis"
echo "installed: schemathesis $VERSION"
