#!/bin/sh
# Certifies the real inference graphs of the test corpus, one after the other, and prints a table of what came out.
#
#   scripts/models.sh            all of them
#   scripts/models.sh NAME …     some of them
#
# CERTIFY: the binary. CERTIFY_CORPUS: the corpus. MODELS_LIMIT: seconds for each (1500). MODELS_OPTIONS: what else
# to tell certify. Inputs are synthetic; the loss is the squared error from a target that is drawn as well, or what
# stands below.
set -u
root="$(cd "$(dirname "$0")/.." && pwd)"
certify="${CERTIFY:-$root/target/release/certify}"
corpus="${CERTIFY_CORPUS:-$root/../shared/corpus}/models"
limit="${MODELS_LIMIT:-1500}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

# What each model is told; small ones first. fns_candy asks for 720x720, which takes some 40 GB; 41x41 is the least that
# its reflections allow, and its last third is as large as ever, because the file states the sizes there.
models() {
    cat <<'TABLE'
acasxu_1_1          --loss mse
lunarlander         --loss mse
cntk_mnist          --loss cross-entropy
convnet_avgpool     --loss cross-entropy
convnet_maxpool     --loss cross-entropy
cnn_mnist_pytorch   --loss nll
mnistfc_256x2       --loss cross-entropy
gru_bidir           --cotangent Y=ones --cotangent Y_h=ones
vit_pgd_2_3_16      --loss cross-entropy --dim batch_size=1
cifar_resnet_2b     --loss cross-entropy
bidi_lstm           --loss mse --dim batch=1 --dim length=4
bert_toy_optimized  --loss mse:prediction_scores
mlp_sigmoid_6x200   --loss cross-entropy
silero_vad_16k      --loss mse:output --dim batch=1 --dim sequence=512
unet_upsample_small --loss sum:out_mask
tfbert_qa           --loss mse:output_1 --dim batch_size=1
light_shufflenet    --loss nll
fastestdet          --loss mse
residual_block_bn   --loss sum
super_resolution    --loss mse --dim batch_size=1
light_resnet50      --loss nll
fns_candy           --loss mse --shape inputImage=1,3,41,41
TABLE
}

# The first words of the result that a status stands for.
verdict() {
    case "$1" in
    0 | 1) sed -n 's/^verdict *\([a-z ]*\):.*/\1/p' "$log" ;;
    2) sed -n 's/^error\(.*\)/refused\1/p' "$log" | head -n 1 ;;
    124) echo "no end within $limit s" ;;
    *) echo "ended with $1" ;;
    esac
}

echo "| model | options | result | gradients | worst |"
echo "|---|---|---|---|---|"
models | while read -r name options; do
    [ $# -eq 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    # shellcheck disable=SC2086
    timeout "$limit" "$certify" "$corpus/$name.onnx" --random 1 --quiet $options ${MODELS_OPTIONS:-} >"$log" 2>&1 </dev/null
    status=$?
    gradients="$(sed -n 's/^gradients *//p' "$log")"
    worst="$(sed -n 's/^worst *"[^"]*": *//p' "$log")"
    echo "| $name | $options | $(verdict "$status") | $gradients | $worst |"
done
