#!/usr/bin/env bash
# Installs Evenkeel unless there is one: the sources that lie around this script, or a release.
set -euo pipefail

if command -v evenkeel >/dev/null; then
    evenkeel --version
    exit 0
fi
if [[ ${EVENKEEL_VERSION-} ]]; then
    cargo install --locked --git https://github.com/evenkeel/evenkeel --tag "v$EVENKEEL_VERSION" evenkeel
else
    cargo install --locked --path "$(dirname "$0")/../../cli"
fi
