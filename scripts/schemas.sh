#!/bin/sh
# Gets what the tests of machine-readable outputs validate with, and prints what is still missing.
#
# Into target/schemas, once: a Python environment with a JSON Schema validator, an XML Schema validator and
# in-toto's own bindings, by hash from PyPI; and the SARIF schema from the npm registry. With
# CERTIFY_REQUIRE_SCHEMAS set, Python and npm come from apt where they are missing, as root or by sudo
# where it asks for no password.
set -eu
cd "$(dirname "$0")/.."
. scripts/npm.sh

schemas=${CARGO_TARGET_DIR:-target}/schemas
say() { printf 'schemas: %s\n' "$*" >&2; }

packages() {
    # ensurepip is what Debian keeps apart from Python.
    python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    [ -f "$schemas/sarif-2.1.0.json" ] || command -v npm >/dev/null 2>&1 || echo npm
}

lacking=$(packages)
if [ -n "$lacking" ] && [ -n "${CERTIFY_REQUIRE_SCHEMAS:-}" ] && command -v apt-get >/dev/null 2>&1; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    say "installing" $lacking "by apt-get"
    # shellcheck disable=SC2086 # packages and the prefix are words
    {
        $sudo apt-get update -q </dev/null >&2 || say "apt-get update failed; trying with the package lists at hand"
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends $lacking </dev/null >&2 || say "apt-get install failed"
    }
fi

mkdir -p "$schemas"
fetch "$schemas" schemastore 0.2.2 schemas/json/sarif-2.1.0.json 03b3c591cf1a1a87c5e29119785ec9671e07a38f5f5a761d2deeea0e07faa738 || :
if ! cmp -s tests/schemas/requirements.txt "$schemas/requirements.txt"; then
    say "fetching validators from PyPI"
    rm -rf "$schemas/venv"
    if python3 -m venv "$schemas/venv" >&2 &&
        "$schemas/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes -r tests/schemas/requirements.txt </dev/null >&2; then
        cp tests/schemas/requirements.txt "$schemas/requirements.txt"
    else
        say "the validators cannot be had"
    fi
fi

missing=
[ -f "$schemas/sarif-2.1.0.json" ] || missing="the SARIF schema"
[ -f "$schemas/requirements.txt" ] || missing="$missing validators"
# shellcheck disable=SC2086 # one line
echo $missing
