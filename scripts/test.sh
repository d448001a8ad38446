#!/bin/sh
# All tests, in the profile of the tool, so that nothing is built twice. Called by "make test".
set -eu
cd "$(dirname "$0")/.."

status=0
cargo test --release --locked --no-fail-fast || status=$?

# Tests that need the corpus pass without it unless CERTIFY_REQUIRE_CORPUS is set: say so where it can't be missed.
corpus=${CERTIFY_CORPUS:-../shared/corpus}
if [ ! -d "$corpus" ]; then
    printf '\nNOT TESTED: what needs the test corpus, which is not at "%s" (set CERTIFY_CORPUS)\n' "$corpus"
fi
exit "$status"
