"""The command line and YAML: RaMViD's flags mean what they meant, and what is wrong is named with its remedy."""

import re
import shlex
from dataclasses import fields

import pytest
import torch
import yaml

from ramvid_vad.cli import COMMAND_SECTIONS, parse_command, run_command
from ramvid_vad.commands.train import OWN_FLAGS, mixer_note
from ramvid_vad.errors import InputError, RunError
from ramvid_vad.loading import anchor_pattern, check_config, checkpoint_config, load_model, with_anchor_kind
from ramvid_vad.options import GROUPS, int_list, parse_image_size, str2bool
from ramvid_vad.script_util import (
    create_diffusion,
    create_model,
    create_model_and_diffusion,
    model_and_diffusion_defaults,
)
from ramvid_vad.training.weights import save_weights

TRAIN, SAMPLE = COMMAND_SECTIONS["video_train"], COMMAND_SECTIONS["video_sample"]


def train(line: str = ""):
    return parse_command("", TRAIN, shlex.split(line))


def sample(line: str = ""):
    return parse_command("", SAMPLE, shlex.split(line))


def anchors_of(parsed):
    parsed = with_anchor_kind(parsed)
    return anchor_pattern(parsed.anchors, parsed.video.seq_len, seed=0)


@pytest.fixture
def config(tmp_path):
    """Writes a YAML file and gives its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


# --- RaMViD's flags ---------------------------------------------------------------------------------------------------

DIFFUSION_FLAGS = "--diffusion_steps 1000 --noise_schedule linear"
RECIPES = {  # name: MODEL_FLAGS, TRAIN_FLAGS of RaMViD's README; res blocks, batch, frames, unconditional rate
    "kinetics600": (
        "--image_size 64 --num_channels 128 --num_res_blocks 3 --scale_time_dim 0",
        "--lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --max_num_mask_frames 4 --uncondition_rate 0.25",
        (3, 8, 16, 0.25),
    ),
    "bair": (
        "--image_size 64 --num_channels 128 --num_res_blocks 2 --scale_time_dim 0",
        "--lr 2e-5 --batch_size 4 --microbatch 2 --seq_len 20 --max_num_mask_frames 4 --uncondition_rate 0.25",
        (2, 4, 20, 0.25),
    ),
    "ucf101": (
        "--image_size 64 --num_channels 128 --num_res_blocks 3 --scale_time_dim 0",
        "--lr 2e-5 --batch_size 8 --microbatch 2 --seq_len 16 --max_num_mask_frames 4 --uncondition_rate 0.75",
        (3, 8, 16, 0.75),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_readme_recipe_parses_to_its_numbers(name):
    model_flags, train_flags, (blocks, batch, frames, rate) = RECIPES[name]
    parsed = train(f"--data_dir path/to/videos {model_flags} {DIFFUSION_FLAGS} {train_flags}")
    assert parsed.video.data_dir == "path/to/videos"
    assert (parsed.model.image_size, parsed.model.num_channels, parsed.model.num_res_blocks) == ("64", 128, blocks)
    assert parsed.model.scale_time_dim == 0
    assert (parsed.diffusion.diffusion_steps, parsed.diffusion.noise_schedule) == (1000, "linear")
    assert (parsed.train.lr, parsed.train.batch_size, parsed.train.microbatch) == (2e-5, batch, 2)
    assert (parsed.video.seq_len, parsed.anchors.max_num_mask_frames) == (frames, 4)
    assert parsed.anchors.uncondition_rate == rate
    pattern = anchors_of(parsed)
    assert pattern.fixed is None  # RaMViD's mask flags ask for its random anchors
    given = torch.stack([pattern(step, 0) for step in range(200)]).sum(1)
    assert given.max() == 4
    assert 0.5 * rate < (given == 0).float().mean() < 1.5 * rate
    with torch.device("meta"):
        create_model(parsed.model)
    assert create_diffusion(parsed.diffusion).num_timesteps == 1000


@pytest.mark.parametrize("name", RECIPES)
def test_ramvids_own_lines_are_told_that_they_train_mamba(name):
    line = " ".join(("--data_dir path/to/videos", RECIPES[name][0], DIFFUSION_FLAGS, RECIPES[name][1]))
    assert "--mixer attention trains RaMViD's own network" in mixer_note(train(line))
    assert train(line).model.mixer == "mamba"
    assert mixer_note(train(f"{line} --log_dir here --max_steps 10"))  # where and how long is not what
    for own in ("--mixer mamba", "--mixer attention", "--anchors random", "--mask_channel True", "--space features"):
        assert mixer_note(train(f"{line} {own}")) == ""
    assert mixer_note(train("--config ped2_cpu")) == ""


def test_recipes_are_the_readmes_lines(shared):
    text = (shared / "papers" / "mamba_video_diffusion_readme.txt").read_text()
    found = [re.findall(rf'^{group}_FLAGS="(.*)";', text, re.M) for group in ("MODEL", "DIFFUSION", "TRAIN")]
    assert found[0] == [model for model, _, _ in RECIPES.values()]
    assert found[1] == [DIFFUSION_FLAGS] * 3
    assert found[2] == [flags for _, flags, _ in RECIPES.values()]


def test_readme_sampling_line():
    model_flags = RECIPES["bair"][0]
    parsed = sample(f"--model_path /path/to/model.pt {model_flags} {DIFFUSION_FLAGS} --timestep_respacing 250")
    assert parsed.sample.model_path == "/path/to/model.pt"
    assert create_diffusion(parsed.diffusion).num_timesteps == 250


def test_every_flag_of_ramvid_is_known():
    shared_flags = (
        "--image_size 64 --num_channels 128 --num_res_blocks 2 --num_heads 4 --num_heads_upsample -1 "
        "--attention_resolutions 16,8 --dropout 0.0 --learn_sigma False --sigma_small False --class_cond False "
        "--diffusion_steps 1000 --noise_schedule linear --timestep_respacing '' --use_kl False "
        "--predict_xstart False --rescale_timesteps True --rescale_learned_sigmas True --use_checkpoint False "
        "--use_scale_shift_norm True --scale_time_dim 20 --rgb True --seq_len 20 --data_dir d --batch_size 4 "
    )
    parsed = train(
        shared_flags + "--schedule_sampler uniform --lr 1e-4 --weight_decay 0.0 --lr_anneal_steps 0 --microbatch 32 "
        "--ema_rate 0.9999 --log_interval 10 --save_interval 2000 --resume_checkpoint '' --use_fp16 False "
        "--fp16_scale_growth 1e-3 --clip 1 --seed 123 --anneal_type None --steps_drop 0.0 --drop 0.0 --decay 0.0 "
        "--max_num_mask_frames 4 --mask_range None --uncondition_rate 0.0 --exclude_conditional True"
    )
    assert len(parsed.given) == 45  # 24 shared, 21 of training
    groups = (GROUPS[name] for name in ("model", "diffusion", "anchors"))
    assert {spec.name for group in groups for spec in fields(group)} - parsed.given == OWN_FLAGS
    assert anchors_of(parsed).fixed is None
    parsed = sample(
        shared_flags
        + "--clip_denoised True --num_samples 10 --use_ddim False --model_path '' --sampling_type generation "
        "--cond_frames 0, --cond_generation True --resample_steps 1 --save_gt False --seed 0"
    )
    assert anchors_of(parsed).fixed.nonzero().flatten().tolist() == [0]


def test_defaults_of_ramvid_that_stay():
    """scale_time_dim and mixer are this project's: time is kept, Mamba mixes."""
    ramvid = {
        "image_size": "64", "num_channels": 128, "num_res_blocks": 2, "num_heads": 4, "num_heads_upsample": -1,
        "attention_resolutions": "16,8", "dropout": 0.0, "learn_sigma": False, "sigma_small": False,
        "class_cond": False, "diffusion_steps": 1000, "noise_schedule": "linear", "timestep_respacing": "",
        "use_kl": False, "predict_xstart": False, "rescale_timesteps": True, "rescale_learned_sigmas": True,
        "use_checkpoint": False, "use_scale_shift_norm": True, "rgb": True,
    }  # fmt: skip
    assert model_and_diffusion_defaults() | ramvid == model_and_diffusion_defaults()
    assert (model_and_diffusion_defaults()["scale_time_dim"], model_and_diffusion_defaults()["mixer"]) == (0, "mamba")


# --- parsers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [("0,1,2", [0, 1, 2]), ("0,1,2,", [0, 1, 2]), ("0,", [0]), ("10,11", [10, 11]), (" 0, 12 ,29", [0, 12, 29])],
)
def test_cond_frames_with_and_without_a_trailing_comma(text, expected):
    assert int_list(text, "cond_frames") == expected
    pattern = anchors_of(train(f"--cond_frames '{text}'"))
    assert pattern.fixed.nonzero().flatten().tolist() == expected


def test_mask_range_is_two_numbers_and_not_their_digits():
    pattern = anchors_of(train("--seq_len 20 --mask_range 10,16 --max_num_mask_frames 6"))
    hits = torch.stack([pattern(step, 0) for step in range(300)]).sum(0)
    assert hits.nonzero().flatten().tolist() == list(range(10, 16))
    whole = anchors_of(train("--seq_len 16 --mask_range '0,16'"))
    assert torch.stack([whole(step, 0) for step in range(300)]).sum(0).all()


@pytest.mark.parametrize("text", ["0", "0,8,16", "0-16", "a,b", "4,2", "0,31"])
def test_a_bad_mask_range_is_refused(text):
    with pytest.raises(InputError, match="--mask_range"):
        anchors_of(train(f"--mask_range {text}"))


def test_a_bad_frame_is_refused():
    for text in ("0;1", "0,30", "x"):
        with pytest.raises(InputError, match="--cond_frames"):
            anchors_of(train(f"--cond_frames '{text}'"))


@pytest.mark.parametrize(
    "line, kind",
    [
        ("", "selective"),
        ("--uncondition_rate 0.25", "random"),
        ("--max_num_mask_frames 4", "random"),
        ("--mask_range 0,30", "random"),
        ("--cond_frames 0,1", "explicit"),
        ("--anchors selective --max_num_mask_frames 24", "selective"),
        ("--anchors prediction", "prediction"),
    ],
)
def test_the_pattern_that_is_meant(line, kind):
    parsed = train(line)
    assert with_anchor_kind(parsed).anchors.anchors == kind


@pytest.mark.parametrize(
    "text, expected", [("128", (128, 128)), ("128x192", (128, 192)), ("128X192", (128, 192)), (64, (64, 64))]
)
def test_image_size_is_height_x_width(text, expected):
    assert parse_image_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "128x", "0", "-64", "12.5", "1x2x3", "128*192", "²"])
def test_a_bad_image_size_is_refused(text):
    with pytest.raises(InputError, match="--image_size"):
        parse_image_size(text)


@pytest.mark.parametrize("text, expected", [("yes true t y 1 True TRUE Yes", True), ("no false f n 0 False NO", False)])
def test_booleans_are_spelt_as_in_ramvid(text, expected):
    for word in text.split():
        assert str2bool(word) is expected
        assert train(f"--rgb {word}").model.rgb is expected
    for word in ("2", "", "on", "none"):
        with pytest.raises(InputError, match="--rgb"):
            train(f"--rgb '{word}'")


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, message",
    [
        ("--num_res_block 3", "unknown flag --num_res_block: did you mean --num_res_blocks"),
        ("--image-size 64", "unknown flag --image-size: did you mean --image_size"),
        ("--image 64", "unknown flag --image: did you mean --image_size"),
        ("--learnrate=1", "unknown flag --learnrate=1: did you mean --"),
        ("--dry-run", "unknown flag --dry-run: did you mean --dry_run"),
        ("--rgb True stray", "unknown flag stray"),
        ("--lr fast", "--lr 'fast': expected float, e.g. 0.0001"),
        ("--batch_size 1.5", "--batch_size '1.5': expected int"),
        ("--batch_size", "--batch_size: expected one argument"),
        ("--noise_schedule sigmoid", "--noise_schedule 'sigmoid': choose one of linear, cosine"),
        ("--mixer mamba2", "--mixer 'mamba2': choose one of mamba, attention"),
        ("--dry_run maybe", "--dry_run.*'maybe'"),
        ("--config /no/such.yaml", "--config /no/such.yaml: .*YAML"),
        ("--config /", "--config /: .*YAML"),
    ],
)
def test_a_bad_flag_is_named_with_its_remedy(line, message):
    with pytest.raises(InputError, match=message) as error:
        train(line)
    assert "\n" not in str(error.value)


def test_flags_of_another_command_are_unknown():
    with pytest.raises(InputError, match="unknown flag --lr"):
        sample("--lr 1e-4")


@pytest.mark.parametrize(
    "text, message",
    [
        ("modle: {image_size: 64}", "unknown section 'modle': did you mean 'model'"),
        ("1: {image_size: 64}", "unknown section '1'"),
        ("model: {imagesize: 64}", "unknown key 'imagesize' in section 'model': did you mean 'image_size'"),
        ("model: {1: 64}", "unknown key '1' in section 'model'"),
        ("model: {lr: 1e-4}", "unknown key 'lr' in section 'model'"),
        ("image_size: 64", "expected sections"),
        ("[1, 2]", "expected sections"),
        ("model: {rgb: maybe}", "rgb 'maybe': expected bool"),
        ("model: {num_channels: 1.5}", "num_channels '1.5': expected int"),
        ("model: {num_channels: true}", "num_channels 'true': expected int"),
        ("model: {num_channels: .inf}", "num_channels '.inf': expected int"),
        ("model: {num_channels: }", "num_channels '': expected int"),
        ("model: {channel_mult: [1, 2]}", r"channel_mult \['1', '2'\]: expected str"),
        ("train: {lr: high}", "lr 'high': expected float"),
        ("diffusion: {noise_schedule: sigmoid}", "noise_schedule 'sigmoid': choose one of linear, cosine"),
        ("model: {image_size: 64", "not valid YAML"),
        ("model: \x00", "not valid YAML"),
    ],
)
def test_a_bad_config_is_named_with_its_remedy(config, text, message):
    path = config(text)
    with pytest.raises(InputError, match=message) as error:
        train(f"--config {path}")
    assert path in str(error.value)
    assert "\n" not in str(error.value)


# --- precedence -------------------------------------------------------------------------------------------------------


def test_default_then_yaml_then_flag(config):
    path = config(
        "model: {image_size: 128x192, num_channels: 64, rgb: no}\n"
        "train: {lr: 2e-5, batch_size: 3}\n"
        "sample: {batch_size: 9, seed: 5}\n"
        "anchors:\n"
    )
    parsed = train(f"--num_channels 96 --config {path} --seed 7")
    assert parsed.model.num_res_blocks == 2  # default
    assert (parsed.model.image_size, parsed.model.rgb) == ("128x192", False)  # YAML
    assert (parsed.train.lr, parsed.train.batch_size) == (2e-5, 3)
    assert (parsed.model.num_channels, parsed.train.seed) == (96, 7)  # flag
    assert parsed.given == {"image_size", "num_channels", "rgb", "lr", "batch_size", "seed"}
    assert (sample(f"--config {path}").sample.batch_size, sample(f"--config {path}").sample.seed) == (9, 5)
    assert train(f"--config {path} --rgb True").model.rgb is True
    assert train("").given == set()


def test_resolved_options_read_back_as_config(config):
    """What --dry_run prints gives the same options again."""
    parsed = train(f"{RECIPES['bair'][0]} {RECIPES['bair'][1]} --anneal_type None --rgb False --ema_rate 0.9,0.99,")
    again = train(f"--config {config(yaml.safe_dump(parsed.as_sections()))}")
    assert again.as_sections() == parsed.as_sections()


@pytest.mark.parametrize(
    "line, expected", [("", False), ("--dry_run", True), ("--dry_run False", False), ("--dry_run 1", True)]
)
def test_dry_run(line, expected):
    assert train(line).dry_run is expected


def test_options_in_python_are_checked_like_flags():
    model, diffusion = create_model_and_diffusion(
        image_size=32, num_channels=32, num_res_blocks=1, rgb="False", timestep_respacing=20
    )
    assert model.input_blocks[0][0].in_channels == 1
    assert diffusion.num_timesteps == 20
    for options, message in (
        ({"mixer": "mamba2"}, "--mixer"),
        ({"num_channels": 1.5}, "--num_channels"),
        ({"lr": 1}, "lr"),
    ):
        with pytest.raises(InputError, match=message):
            create_model_and_diffusion(**options)


@pytest.mark.parametrize("error, code", [(InputError("--lr: no"), 2), (RunError("no"), 1)])
def test_an_error_ends_the_command_with_one_line_and_its_code(error, code, capsys, monkeypatch):
    def command(parsed):
        raise error

    monkeypatch.setattr("sys.argv", ["video_train.py"])
    with pytest.raises(SystemExit) as end:
        run_command("video_train", "doc", command)
    assert end.value.code == code
    assert capsys.readouterr().err == f"video_train: error: {error}\n"


def test_help_lists_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        train("--help")
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, value in train().as_sections()["train"].items():
        assert f"--{name} " in text
        assert f"(default: {value!r})" in text


# --- ranges and aliases -----------------------------------------------------------------------------------------------

NUMBERS = [
    (command, section, spec)
    for command, sections in COMMAND_SECTIONS.items()
    for section in sections
    for spec in fields(GROUPS[section])
    if spec.type in (int, float)
]


@pytest.mark.parametrize("command, section, spec", NUMBERS, ids=lambda part: getattr(part, "name", part))
def test_every_number_has_a_range_and_ends_where_it_says(command, section, spec):
    """The ends of the range are taken, one step beyond each is refused in one line that says the range."""
    bounds, also = spec.metadata["bounds"], spec.metadata["also"]
    assert bounds, f"--{spec.name} has no range"

    def value_of(number) -> float:
        parsed = parse_command("", COMMAND_SECTIONS[command], [f"--{spec.name}={number}"])
        return getattr(getattr(parsed, section), spec.name)

    step = 1 if spec.type is int else 1e-3
    inside = {"at least": 0, "at most": 0, "above": step, "below": -step}
    outside = {"at least": -step, "at most": step, "above": 0, "below": 0}
    for word, bound in bounds.items():
        value = spec.type(bound + inside[word])
        assert value_of(value) == value
        wrong = spec.type(bound + outside[word] * max(1, abs(bound)))
        if wrong not in also:
            with pytest.raises(InputError, match=rf"^--{spec.name} '{re.escape(str(wrong))}': must be .*{word}"):
                parse_command("", COMMAND_SECTIONS[command], [f"--{spec.name}={wrong}"])
    for value in also:
        assert (
            getattr(
                getattr(parse_command("", COMMAND_SECTIONS[command], [f"--{spec.name}={value}"]), section), spec.name
            )
            == value
        )
    for text in ("nan", "inf", "-1e999", "9" * 5000, "", "0x10"):
        with pytest.raises(InputError, match=f"^--{spec.name} ") as error:
            value_of(text)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "parse, alias, section, name, meant, other",
    [
        (sample, "use_ddim", "sample", "sampler", "ddim", None),
        (train, "predict_xstart", "diffusion", "prediction", "xstart", "v"),
        (train, "use_fp16", "train", "precision", "fp16", "bf16"),
    ],
)
def test_aliases_are_spelled_out_once(config, parse, alias, section, name, meant, other):
    parsed = parse(f"--{alias} True")
    assert getattr(getattr(parsed, section), name) == meant
    assert getattr(getattr(parsed, section), alias) is False
    assert name in parsed.given
    assert parse(f"--{alias} True --{name} {meant}").given == parsed.given
    assert getattr(getattr(parse(f"--{alias} False"), section), name) != meant
    from_file = parse(f"--config {config(f'{section}: {{{alias}: true}}')}")
    assert getattr(getattr(from_file, section), name) == meant
    if other:
        with pytest.raises(InputError, match=f"--{alias} True contradicts --{name} {other}"):
            parse(f"--{alias} True --{name} {other}")
        back = parse(
            f"--config {config(f'{section}: {{{alias}: true}}')} --{name} {other}"
        )  # a flag wins over the file
        assert getattr(getattr(back, section), name) == other


def test_in_python_too_predict_xstart_is_prediction_xstart():
    small = dict(image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1", attention_resolutions="")
    assert create_model_and_diffusion(**small, predict_xstart=True)[1].prediction == "xstart"
    with pytest.raises(InputError, match="predict_xstart"):
        create_model_and_diffusion(**small, predict_xstart=True, prediction="v")


@pytest.mark.parametrize("trained", [{"predict_xstart": True}, {"prediction": "xstart"}])
def test_a_checkpoint_is_asked_for_in_either_spelling(trained):
    config = {"model": {}, "diffusion": {"prediction": "epsilon"} | trained}
    for line in ("--prediction xstart", "--predict_xstart True"):
        check_config(sample(line), config, "model.safetensors", {"prediction"})
    for line in ("--prediction v", "--prediction epsilon", "--predict_xstart False"):
        with pytest.raises(InputError, match=r"--prediction .*: model\.safetensors was made with 'xstart'"):
            check_config(sample(line), config, "model.safetensors", {"prediction"})


def test_keep_aspect_comes_from_the_checkpoint(tmp_path):
    """A model trained on crops must not be shown squeezed frames."""
    path = str(tmp_path / "model000001.safetensors")
    trained = train("--image_size 16 --num_channels 32 --channel_mult 1 --num_res_blocks 1 --keep_aspect True")
    save_weights(path, create_model(trained.model).state_dict(), checkpoint_config(trained))
    assert load_model(path, sample())[2].video.keep_aspect
    assert not load_model(path, sample("--keep_aspect False"))[2].video.keep_aspect  # unless a flag asks for it
