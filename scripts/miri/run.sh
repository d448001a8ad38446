#!/bin/sh
# Runs certify's unsafe code in Miri, as far as it calls no C: see src/lib.rs.
set -eu
cd "$(dirname "$0")"
# The threads of the pool outlive the tests; its queues (crossbeam-epoch) are written for Tree Borrows.
MIRIFLAGS="-Zmiri-ignore-leaks -Zmiri-tree-borrows ${MIRIFLAGS:-}" RAYON_NUM_THREADS=2 cargo +nightly miri test --test memory
