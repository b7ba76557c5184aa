#!/usr/bin/env bash
# Measures training on a GPU, from a copy of this directory, without network, in at most 8 minutes:
#
#     benchmarks/gpu.sh [FOLDER]
#
# writes FOLDER/gpu.md (one table) and FOLDER/gpu.json, by default in bench/gpu; see benchmarks/gpu.py. Python is the
# first of $PYTHON, .venv/bin/python and python3 that is 3.11 or newer and whose torch finds a GPU. If
# AUTOREC_GPU_BENCH_WHEELS names a folder of wheels, they are installed beside it for this run: on a machine with torch,
# polars may be all that is missing.
#
# AUTOREC_GPU_BENCH_DEVICE=cpu tries the script without a GPU; arguments after FOLDER go to benchmarks/gpu.py.
set -u
cd "$(dirname "$0")/.." || exit
folder=${1:-bench/gpu}
device=${AUTOREC_GPU_BENCH_DEVICE:-cuda}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for python in "${PYTHON:-}" .venv/bin/python python3; do
    [ -n "$python" ] && "$python" -c "import sys, torch; assert sys.version_info >= (3, 11); assert '$device' == 'cpu' or torch.cuda.is_available()" && break
done 2>"$scratch/errors" || { tail -n 1 "$scratch/errors" >&2; echo "no Python whose torch finds a GPU" >&2; exit 1; }

if [ -n "${AUTOREC_GPU_BENCH_WHEELS:-}" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$scratch/site" \
        "$AUTOREC_GPU_BENCH_WHEELS"/*.whl && export PYTHONPATH="$scratch/site${PYTHONPATH:+:$PYTHONPATH}"
fi

# Its own limit is 7 minutes; this one is for a GPU that hangs.
timeout --kill-after=10 465 "$python" -m benchmarks.gpu "$folder" --device "$device" "${@:2}"
