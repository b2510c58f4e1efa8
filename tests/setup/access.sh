#!/usr/bin/env bash
# Installs what tests of notifications start: a mail server in Python, in $TOOLS. Nothing is started
# here.
set -euo pipefail

: "${TOOLS:?a folder for tools, on PATH}"
readonly MAIL_SERVER="aiosmtpd==1.4.6"
readonly folder="$TOOLS/mail-server"

has() { command -v "$1" >/dev/null 2>&1; }

lacking() {
    echo "missing: $1"
    exit 1
}

if [[ "$(cat "$folder/complete" 2>/dev/null)" == "$MAIL_SERVER" ]]; then
    echo "the mail server is here: $MAIL_SERVER"
    exit 0
fi
has python3 || lacking "python3, for the mail server"
if ! python3 -m pip --version >/dev/null 2>&1; then
    ((EUID == 0)) && has apt-get || lacking "pip, as root: apt-get install python3-pip"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip
fi
rm -rf "$folder"
python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-warn-conflicts \
    --root-user-action=ignore --target "$folder" "$MAIL_SERVER" || lacking "$MAIL_SERVER by pip"
echo "$MAIL_SERVER" >"$folder/complete"
echo "installed: $MAIL_SERVER"
