# Train, infill and evaluate: what the recipes beside this file share. They source it and call `recipe`.
#
#   recipe NAME DATA RUN [LABELS]    the recipe NAME; videos in DATA/training and DATA/testing, labels in DATA/LABELS
#
# RECIPE=fast or full fits that recipe of `ramvid-vad fit` in place of the thesis's network (RECIPE=thesis, the
# default), for ShanghaiTech and UBnormal one model for each scene.
# NUM_RANKS=4 trains and infills on 4 MPI ranks (batch_size is per rank). PYTHON chooses the interpreter.
# Killed or stopped? The same command goes on where it was; a fit of RECIPE=fast begins again.

recipe() {
    local name=$1 data=$2 run=$3 labels=${4:-labels} fitted=${RECIPE:-thesis}
    local here python launch part scenes=() benchmark=()
    here=$(dirname "${BASH_SOURCE[0]}")
    python=${PYTHON:-python}
    case $fitted in
        thesis | fast | full) ;;
        *)
            echo "RECIPE=$fitted: thesis, fast or full" >&2
            return 2 ;;
    esac
    for part in training testing "$labels"; do  # not after days of training
        if [ ! -e "$data/$part" ]; then
            echo "$data/$part: is not there; scripts/prepare_data.py writes $data (docs/data.md)" >&2
            return 2
        fi
    done

    # Each step has a process group of its own, so that Ctrl-C comes to it once, from here, and no signal is ignored.
    set -m
    stopped='' step=''
    trap 'stopped=143; pass_on TERM' TERM HUP
    trap 'stopped=130; pass_on INT' INT

    if [ "$fitted" != thesis ]; then
        case $name in
            shanghaitech | ubnormal) scenes=(--scenes "$name") benchmark=(--benchmark "$name") ;;
        esac
        run_step "$python" -m ramvid_vad fit "$data/training" --out "$run/$fitted" --recipe "$fitted" "${scenes[@]}"
        run_step "$python" "$here/../scripts/vad_eval.py" --detector "$run/$fitted" --data_dir "$data/testing" \
            --normal_dir "$data/training" --labels "$data/$labels" --out_dir "$run/evaluation_$fitted" "${benchmark[@]}"
        return
    fi
    launch=("$python")
    if [ "${NUM_RANKS:-1}" -gt 1 ]; then
        launch=(mpirun -n "$NUM_RANKS" "$python")
    fi

    # 1. Normal video only. Checkpoints and logs go to RUN/train.
    run_step "${launch[@]}" "$here/../scripts/video_train.py" --config "$name" \
        --data_dir "$data/training" --log_dir "$run/train"
    # A training that a signal ended early has exit code 0, too: its log tells.
    if ! tail -n 2 "$run/train/log.txt" | grep -q '^finished at step'; then
        echo "$run/train: the training is not finished; the same command goes on" >&2
        return 1
    fi

    # 2. Infill every test video with the newest averaged weights.
    run_step "${launch[@]}" "$here/../scripts/video_sample.py" --config "$name" \
        --model_path "$run/train" --data_dir "$data/testing" --out_dir "$run/reconstructions"

    # 3. Scores, metrics, null rows and plots.
    run_step "$python" "$here/../scripts/vad_eval.py" --config "$name" \
        --reconstructions "$run/reconstructions" --data_dir "$data/testing" --labels "$data/$labels" \
        --out_dir "$run/evaluation"
}

# One step, to its end. After a signal that is the recipe's end, too: the step has saved its work, the next must wait.
run_step() {
    local code
    [ -z "$stopped" ] || exit "$stopped"
    "$@" < /dev/null &
    step=$!
    [ -z "$stopped" ] || pass_on TERM  # a signal that came before the step had its number
    while :; do  # a signal ends the wait, not the step
        code=0
        wait "$step" || code=$?
        kill -0 "$step" 2> /dev/null || break
    done
    [ -z "$stopped" ] || exit "$stopped"
    return "$code"
}

pass_on() {
    [ -z "$step" ] || kill -s "$1" "$step" 2> /dev/null || true
}
