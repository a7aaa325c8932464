#!/usr/bin/env bash
# Train the package's small models from nothing, in pieces that resume.
#
#     scripts/train_models.sh PHOTOS VALIDATION OUT [OVERRIDE ...]
#
# PHOTOS and VALIDATION are folders of pictures; VALIDATION is never trained on. Each call works for
# MINUTES (8 by default) at most and exits with 75 while there is more to do: call it again, or
#
#     until scripts/train_models.sh photos held_out runs/models; do [ $? = 75 ] || break; done
#
# OVERRIDEs such as train.batch_size=64 go to every stage. A stage is done once it has an export.
set -u
cd "$(dirname "$0")/.."
photos=$1 validation=$2 out=$3
shift 3
end=$((SECONDS + ${MINUTES:-8} * 60))

# NAME SCRIPT CONFIG OVERRIDE ...
stage() {
    local name=$1 script=$2 config=$3 left=$((end - SECONDS))
    shift 3
    [ -d "$out/$name/export" ] && return
    [ "$left" -lt 30 ] && exit 75
    timeout --signal=TERM "$left" "${PYTHON:-python}" "scripts/$script" --config "configs/$config.yaml" \
        --resume auto "data.path=$photos" "data.validation_kind=folder" \
        "data.validation_path=$validation" data.validation_count=16 "train.run_dir=$out/$name" "$@"
    local code=$?
    case $code in
        0) return ;;
        75 | 124) exit 75 ;;
        *) exit $code ;;
    esac
}

pixels="loss.perceptual_weight=0 loss.texture_weight=0 train.steps=${PIXEL_STEPS:-3000}"
second="train.muon_lr=0.01 train.lr=7e-4 train.ema_decay=0.998 train.steps=${STEPS:-3000}"

# First the pixels, then what networks see in them.
stage pixels4 train_kl_ae.py kl_f8_small $pixels "$@"
stage kl train_kl_ae.py kl_f8_small model.init_from="$out/pixels4/export" $second "$@"
stage pixels16 train_kl_ae.py kl_f8_small model.latent_channels=16 $pixels "$@"
# Four channels that a network has looked at already; at the end a little for the pixels.
rate="model.latent_channels=4 model.rate.least_step=0.8 model.rate.greatest_step=6.4 loss.rate_weight=1.8"
stage rate train_plain_ae.py rate_f8_small model.init_from="$out/kl/export" $rate \
    loss.rate_start_step=100 loss.rate_warmup_steps=200 $second train.muon_lr=0.007 train.lr=5e-4 "$@"
stage codec train_plain_ae.py rate_f8_small model.init_from="$out/rate/export" $rate \
    loss.rate_start_step=60 loss.rate_warmup_steps=60 loss.reconstruction_weight=3 \
    train.muon_lr=0.004 train.lr=3e-4 train.ema_decay=0.99 train.steps="$((${STEPS:-3000} / 6))" "$@"
# More channels for more bits, over a wide range first.
wide="model.latent_channels=12 train.muon_lr=0.008 train.lr=5e-4 train.ema_decay=0.998"
stage wide train_plain_ae.py rate_f8_small model.init_from="$out/kl/export" $wide \
    model.rate.least_step=0.5 model.rate.greatest_step=6.4 loss.rate_weight=1.42 \
    loss.rate_start_step=200 loss.rate_warmup_steps=400 train.steps="${STEPS:-3300}" "$@"
stage codec-fine train_plain_ae.py rate_f8_small model.init_from="$out/wide/export" $wide \
    model.rate.least_step=0.35 model.rate.greatest_step=2.8 loss.rate_weight=0.6 loss.reconstruction_weight=2 \
    loss.rate_start_step=60 loss.rate_warmup_steps=60 train.steps="${STEPS:-2400}" "$@"
stage kl2 train_kl_ae.py kl_f8_small model.init_from="$out/kl/export" loss.perceptual_weight=1.5 \
    loss.texture_weight=0.75 $second train.muon_lr=0.008 train.lr=5e-4 "$@"
late="$second train.muon_lr=0.008 train.lr=5e-4 loss.colour_weight=1"
deeper="model.coder.num_res_blocks=2 loss.view_scales=[0.7,1.4] $late"
stage deeper train_kl_ae.py kl_f8_small model.init_from="$out/kl2/export" loss.perceptual_weight=2 \
    loss.texture_weight=1 $deeper train.steps="${STEPS:-2000}" "$@"
stage kl3 train_kl_ae.py kl_f8_small model.init_from="$out/deeper/export" loss.perceptual_weight=3 \
    loss.texture_weight=1.5 $deeper train.steps="${STEPS:-1700}" "$@"
# Fine detail at last: enlarged views, and crops in which the norms see as much as in whole pictures.
stage kl4 train_kl_ae.py kl_f8_small model.init_from="$out/kl3/export" model.coder.num_res_blocks=2 \
    loss.perceptual_weight=4 loss.texture_weight=2 loss.view_scales=[1.5,2.5] $late data.size=224 \
    train.batch_size=5 train.steps="${STEPS:-1700}" "$@"
# The same for the codec.
views="loss.view_scales=[1.5,2.5] loss.perceptual_weight=2 loss.texture_weight=1 data.size=224 train.batch_size=5"
short="$second train.muon_lr=0.007 train.lr=5e-4 loss.rate_start_step=60 loss.rate_warmup_steps=60"
stage codec3 train_plain_ae.py rate_f8_small model.init_from="$out/codec/export" $rate loss.rate_weight=2.4 \
    loss.reconstruction_weight=2 $views $short train.steps="${STEPS:-1500}" "$@"
enlarged="loss.view_scales=[1.5,2.5] loss.colour_weight=1 data.size=224 train.batch_size=5"
stage kl16 train_kl_ae.py kl_f8_small model.init_from="$out/pixels16/export" loss.perceptual_weight=1.5 \
    loss.texture_weight=0.75 $second $enlarged train.steps="${STEPS:-1800}" "$@"
codes="codebook: {kind: vq, size: 1024, revive_after: 50}"
stage codes train_vq_ae.py vq_f8_small "model={kind: discrete, init_from: $out/kl/export, $codes}" $second "$@"
stage vq train_vq_ae.py vq_f8_small "model={kind: discrete, init_from: $out/codes/export, $codes}" \
    loss.perceptual_weight=3 loss.texture_weight=1.5 $second train.muon_lr=0.007 train.lr=5e-4 $enlarged train.steps="${STEPS:-1500}" "$@"
