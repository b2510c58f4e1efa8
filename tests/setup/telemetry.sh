#!/usr/bin/env bash
# The OpenTelemetry Collector, in $TOOLS: built from the module that pins it.
set -euo pipefail

: "${TOOLS:?a folder for tools, on PATH}"
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/otel-collector" && pwd)
what=$(cat "$folder/main.go" "$folder/go.mod" "$folder/go.sum" | sha256sum)
readonly folder what

if [[ -x "$TOOLS/otel-collector" && "$(cat "$TOOLS/.otel-collector" 2>/dev/null)" == "$what" ]]; then
    echo "the OpenTelemetry Collector is here"
    exit
fi
if ! command -v go >/dev/null; then
    echo "missing: go, for the OpenTelemetry Collector"
    exit 1
fi
if ! go build -C "$folder" -ldflags "-s -w" -o "$TOOLS/otel-collector" .; then
    echo "missing: the OpenTelemetry Collector: let go reach its module proxy"
    exit 1
fi
echo "$what" >"$TOOLS/.otel-collector"
