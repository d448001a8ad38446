#!/bin/sh
# All tests, in the profile of the tool, so that nothing is built twice. Called by "make test".
set -eu
cd "$(dirname "$0")/.."

# What the browser tests lack, by name; with CERTIFY_REQUIRE_BROWSER it is installed.
lacking=$(sh scripts/browser.sh)
# And what the tests of machine-readable outputs lack; with CERTIFY_REQUIRE_SCHEMAS it is installed.
schemas=$(sh scripts/schemas.sh)

# Generated cases are the same every time; another seed gives others.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-20261121}"

status=0
cargo test --release --locked --no-fail-fast || status=$?

# Tests that need the corpus pass without it unless CERTIFY_REQUIRE_CORPUS is set: say so where it can't be missed.
corpus=${CERTIFY_CORPUS:-../shared/corpus}
if [ ! -d "$corpus" ]; then
    printf '\nNOT TESTED: what needs the test corpus, which is not at "%s" (set CERTIFY_CORPUS)\n' "$corpus"
fi
if [ -n "$lacking" ]; then
    printf '\nNOT TESTED: the report in a browser, for lack of: %s\n' "$lacking"
    printf '(CERTIFY_REQUIRE_BROWSER=1 make test installs them where apt-get can, and fails where not)\n'
fi
if [ -n "$schemas" ]; then
    printf '\nNOT TESTED: machine-readable outputs against their public schemas, for lack of: %s\n' "$schemas"
fi
exit "$status"
