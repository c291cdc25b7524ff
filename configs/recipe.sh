# Train, infill and evaluate: what the recipes beside this file share. They source it and call `recipe`.
#
#   recipe NAME DATA RUN [LABELS]    with the recipe NAME; videos in DATA/training and DATA/testing, labels in DATA/LABELS
#
# RECIPE=fast or full fits that recipe of `ramvid-vad fit` in place of the thesis's network (RECIPE=thesis, the default).
# NUM_RANKS=4 trains and infills on 4 MPI ranks (batch_size is per rank). PYTHON chooses the interpreter.
# Killed or stopped? The same command goes on where it was.

recipe() {
    trap 'exit 130' INT TERM  # a step that was stopped has saved its work; the next one must not start on it
    local name=$1 data=$2 run=$3 labels=${4:-labels}
    local here python launch
    here=$(dirname "${BASH_SOURCE[0]}")
    python=${PYTHON:-python}
    case ${RECIPE:-thesis} in
        thesis) ;;
        fast | full)
            "$python" -m ramvid_vad fit "$data/training" --out "$run/$RECIPE" --recipe "$RECIPE"
            "$python" "$here/../scripts/vad_eval.py" --detector "$run/$RECIPE" --data_dir "$data/testing" \
                --normal_dir "$data/training" --labels "$data/$labels" --out_dir "$run/evaluation_$RECIPE"
            return ;;
        *)
            echo "RECIPE=$RECIPE: thesis, fast or full" >&2
            return 2 ;;
    esac
    launch=("$python")
    if [ "${NUM_RANKS:-1}" -gt 1 ]; then
        launch=(mpirun -n "$NUM_RANKS" "$python")
    fi

    # 1. Normal video only. Checkpoints and logs go to RUN/train.
    "${launch[@]}" "$here/../scripts/video_train.py" --config "$name" \
        --data_dir "$data/training" --log_dir "$run/train"

    # 2. Infill every test video with the newest averaged weights.
    "${launch[@]}" "$here/../scripts/video_sample.py" --config "$name" \
        --model_path "$run/train" --data_dir "$data/testing" --out_dir "$run/reconstructions"

    # 3. Scores, metrics, null rows and plots.
    "$python" "$here/../scripts/vad_eval.py" --config "$name" \
        --reconstructions "$run/reconstructions" --data_dir "$data/testing" --labels "$data/$labels" \
        --out_dir "$run/evaluation"
}
