#!/bin/sh
# Builds certify and certifies a small trained network on real inputs. Called by "make demo".
set -eu
cd "$(dirname "$0")/.."

cargo build --release --locked

# The status is certify's: 1 (not certified, or undecided) leaves a report too.
status=0
cargo run --quiet --release --locked -- models/digits_cnn.onnx --inputs models/digits_cnn.inputs.npz \
    --report report.html --certificate report.json || status=$?
if [ "$status" -le 1 ]; then
    printf '\nOpen in a browser: file://%s/report.html\n' "$PWD"
fi
exit "$status"
