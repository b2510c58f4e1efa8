#!/usr/bin/env bash
# Installs what tests of the web page and of `backout watch` start: Chromium with its driver, axe-core
# (the accessibility rules, into $TOOLS/axe) and tmux. Nothing is started here.
set -euo pipefail

TOOLS=${TOOLS:?the folder for tools}
AXE_VERSION=4.11.0
axe=$TOOLS/axe/node_modules/axe-core/axe.min.js

has() { command -v "$1" >/dev/null 2>&1; }

packages=()
has chromium || packages+=(chromium)
has chromedriver || packages+=(chromium-driver)
has tmux || packages+=(tmux)
# Without a font the screenshots are boxes.
compgen -G "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf" >/dev/null || packages+=(fonts-dejavu-core)
has npm || [[ -e "$axe" ]] || packages+=(npm)

if ((${#packages[@]} > 0)); then
    if ((EUID != 0)) || ! has apt-get; then
        echo "missing: as root: apt-get install --no-install-recommends ${packages[*]}"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "apt-get update failed; trying with what is known"
    if ! apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; then
        echo "missing: apt-get could not install ${packages[*]}"
        exit 1
    fi
    echo "installed: ${packages[*]}"
fi

if [[ ! -e "$axe" ]]; then
    mkdir -p "$TOOLS/axe"
    if ! npm install --silent --no-audit --no-fund --prefix "$TOOLS/axe" "axe-core@$AXE_VERSION"; then
        echo "missing: npm could not install axe-core $AXE_VERSION"
        exit 1
    fi
    echo "installed: axe-core $AXE_VERSION"
fi
echo "Chromium, its driver, tmux and axe-core are here"
