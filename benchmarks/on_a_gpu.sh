#!/usr/bin/env bash
# All that needs a GPU, in at most eight minutes and without a network:
#
#     benchmarks/on_a_gpu.sh OUT [WEIGHTS]
#
# OUT gets the log of each part, its report as soon as it is there, and parts.txt with exit codes and
# seconds. WEIGHTS is a folder with SqueezeNet's weights; without it LPIPS has to be cached. Parts come
# in order of worth, each in a process of its own, since a process has one precision.
set -u
out=$(realpath -m "$1") weights=${2:+$(realpath "$2")}
mkdir -p "$out"
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1
python=${PYTHON:-python}

# NAME SECONDS COMMAND ...
part() {
    local name=$1 limit=$2 left=$((480 - SECONDS)) started=$SECONDS
    shift 2
    [ "$left" -lt 15 ] && { echo "$name left out: no time" >>"$out/parts.txt"; return; }
    timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" >"$out/$name.log" 2>&1
    echo "$name exit $? seconds $((SECONDS - started))" | tee -a "$out/parts.txt"
}

# NAME SECONDS TASK MODEL SIDE BATCH
speed() {
    local name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$python" benchmarks/throughput.py --gpu "$@" --rounds 1 --seconds 2 \
        ${weights:+--weights "$weights"} --out "$out/$name.json"
}

part tests 150 "$python" -m pytest -q -p no:cacheprovider -m gpu tests/gpu
speed decode_1024 90 decode kl_f8 1024 1
speed encode_256 90 encode kl_f8 256 16
speed step_full 90 step kl_f8 256 16
speed step_small 60 step kl_f8_small 128 32
speed decode_256 60 decode kl_f8 256 16
