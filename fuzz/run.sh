#!/bin/sh
# Runs every fuzz target, or those named, for so many seconds: `fuzz/run.sh [SECONDS [TARGET …]]`; small files of
# the crate and of the corpus are the seeds. Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`).
# Finds stay in fuzz/artifacts, for `cargo +nightly fuzz tmin`.
#
# Instrumented for coverage, with overflow checks and debug assertions, but without a sanitizer: what is read here is
# read in safe Rust, where what matters is a panic, a hang or memory, and AddressSanitizer makes the build take hours
# (SANITIZER=address asks for it).
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- model npz safetensors checkpoint certificate policy
corpus=${CERTIFY_CORPUS:-../shared/corpus}
seeds=fuzz/corpus
for target in model npz safetensors checkpoint certificate policy; do mkdir -p "$seeds/$target"; done
n=0
# name, folder of seeds, largest size in KiB
collect() {
    for f in $(find models tests/data "$corpus" -name "$1" -size "-$3k" 2>/dev/null | sort); do
        n=$((n + 1))
        cp "$f" "$seeds/$2/seed-$n"
        chmod u+w "$seeds/$2/seed-$n"
    done
}
collect '*.onnx' model 8
collect '*.npz' npz 8
collect 'checkpoint*' checkpoint 8
cp src/gate/policy.toml "$seeds/policy/"
sed 's/^#: //' src/gate/policy.toml >"$seeds/policy/all.toml"
printf '\066\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}\0\0\200\077' \
    >"$seeds/safetensors/one"
printf '\160\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}} \0\0\0\0\0\0\200\077\200\077' \
    >"$seeds/safetensors/two"
# certificates of one entry a list: whole ones are too long to be fuzzed
for f in docs/samples/*.json; do
    python3 - "$f" >"$seeds/certificate/$(basename "$f")" <<'SHORT'
import json, sys
c = json.load(open(sys.argv[1]))
json.dump({k: v[:1] if isinstance(v, list) else v for k, v in c.items()}, sys.stdout, separators=(",", ":"))
SHORT
done
for target in "$@"; do
    cargo +nightly fuzz run --sanitizer "${SANITIZER:-none}" --codegen-units 16 "$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=30 -max_len=32768 -print_final_stats=1
done
