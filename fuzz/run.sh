#!/bin/sh
# Runs every fuzz target for so many seconds (default 600), with the crate's own files as seeds.
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`). Finds stay in fuzz/artifacts.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
corpus=${CERTIFY_CORPUS:-../shared/corpus}
seeds=fuzz/corpus
mkdir -p "$seeds/model" "$seeds/npz" "$seeds/safetensors" "$seeds/checkpoint" "$seeds/certificate" "$seeds/policy"
n=0
for f in $(find models tests/data "$corpus" -name '*.onnx' -size -64k 2>/dev/null); do
    n=$((n + 1)); cp "$f" "$seeds/model/seed-$n"
done
for f in $(find models tests/data "$corpus" -name '*.npz' -size -16k 2>/dev/null); do
    n=$((n + 1)); cp "$f" "$seeds/npz/seed-$n"
done
for f in $(find "$corpus" -name 'checkpoint*' -size -64k 2>/dev/null); do
    n=$((n + 1)); cp "$f" "$seeds/checkpoint/seed-$n"
done
cp docs/samples/*.json "$seeds/certificate/"
cp src/gate/policy.toml "$seeds/policy/"
sed 's/^# //' src/gate/policy.toml >"$seeds/policy/all.toml"
for target in model npz safetensors checkpoint certificate policy; do
    cargo +nightly fuzz run ${SANITIZER:+-s "$SANITIZER"} "$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -max_len=65536 -print_final_stats=1
done
