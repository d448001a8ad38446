#!/bin/sh
# Gets what the browser tests need beyond the build, and prints what is still missing.
#
# Chromium with its driver, Firefox, poppler's tools, Java and npm are used where they are installed; with
# CERTIFY_REQUIRE_BROWSER set, those that are missing come from apt, as root or by sudo where it asks
# for no password. The accessibility checker axe-core and the HTML validator vnu come from the npm
# registry, into target/web, once.
set -eu
cd "$(dirname "$0")/.."
. scripts/npm.sh

web=${CARGO_TARGET_DIR:-target}/web
say() { printf 'browser: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Debian's packages of the programs that are missing.
packages() {
    has chromium || echo chromium
    has chromedriver || echo chromium-driver
    has firefox-esr || has firefox || echo firefox-esr
    { has pdftotext && has pdfinfo; } || echo poppler-utils
    has java || echo default-jre-headless
    has npm || echo npm
}

lacking=$(packages)
if [ -n "$lacking" ] && [ -n "${CERTIFY_REQUIRE_BROWSER:-}" ] && has apt-get; then
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

# Without a browser, or without Java, the one that needs it isn't fetched.
if has chromium && has chromedriver; then fetch "$web" axe-core 4.14.1 axe.min.js 29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c || :; fi
if has java; then fetch "$web" vnu-jar 26.9.27 build/dist/vnu.jar 22f15dd39a33bed929d2a5c0cddf5946849a647eca9272bf4d5d00bc7e7a4d47 || :; fi

missing=$(packages)
[ -f "$web/axe.min.js" ] || missing="$missing axe-core"
[ -f "$web/vnu.jar" ] || missing="$missing vnu-jar"
# shellcheck disable=SC2086 # one line
echo $missing
