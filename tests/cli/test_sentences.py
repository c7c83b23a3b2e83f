"""One line for whatever the user of a command can correct."""

import numpy as np
import pytest
from PIL import Image


def pictures(folder, spoilt=False):
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), 50 * i, np.uint8)).save(folder / f"{i}.png")
    if spoilt:
        (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])


WORDS = {
    "mnist --data nowhere": "'nowhere' is neither a path nor a built-in set (digits): give a path that exists",
    "mnist --data dgits": "'dgits' is neither a path nor a built-in set (digits): did you mean 'digits'?",
    "faces --data empty": "'empty' has no pictures in it (.png, .jpg, .jpeg, .webp): give another folder or tar.",
    "faces --data spoilt": "'1.png' in 'spoilt' is a truncated or corrupt picture: replace or remove it.",
    "faces --data few --batch 4": "a batch of 4 is more than the 3 images there are: give --batch 3 or less.",
    "digit": "dcgan has no preset 'digit' (did you mean 'digits'?): it has digits, mnist, mnist-small, faces.",
    "digits --stpes 3": "There is no flag --stpes (did you mean '--steps'?): --help shows them all.",
    "digits --width_g=3": "There is no flag --width-g (did you mean '--width-G'?): --help shows them all.",
    "digits extra": "'extra' is one word too many: --help shows what can be given.",
    "digits --lr -0.1": "--lr is -0.1: it must be 0 or more.",
    "digits --lr nan": "--lr is nan: it must be a finite number.",
    "digits --seed -1": "--seed is -1: it must be 0 or more.",
    "digits --steps -5": "--steps is -5: it must be 1 or more.",
    "digits --batch 0": "--batch is 0: it must be 1 or more.",
    "digits --log-every 0": "--log-every is 0: it must be 1 or more.",
    "digits --batch many": "--batch is 'many': it must be a whole number.",
    "digits --lr": "--lr needs a value: --help shows of which kind.",
    "digits --order random": "--order is 'random': it must be simultaneous, alternating, same_fakes or waiting.",
    "digits --size 30": "DenseGenerator does not take size 30: give a multiple of 4, as 32.",
    "digits --width-G 6": "DenseGenerator does not take width 6: give a multiple of 4, as 8.",
    "digits --size 48 --networks pytorch": "DCGAN's networks do not take size 48: give 8, 16, 32, 64 and so on.",
    "digits --channels 2": "--channels 2 is neither 1 (grey) nor 3 (colour).",
    "digits --run file/run": "HERE/file/run cannot be written (Not a directory): give another --run.",
    "digits --run few": "HERE/few is not empty and holds no run: give another --run.",
    "digits --from few": "few is not a run: it has no config.json. Give the folder that --run named.",
    "digits --best FID": "There is no metric 'FID' to choose the best checkpoint by: give one of D(G(z)) after",
}


COMMANDS = {
    "evaluate nowhere": "There is nothing to compare with: name the real images by --data.",
    "evaluate nowhere --data digits": "'nowhere' is neither a path nor a built-in set",
    "evaluate digits --data digits --n -1": "--n is -1: it must be 0 or more.",
    "lst": "There is no command 'lst' (did you mean 'list'?): there are train, new, list, cost, sample, translate,",
    "cost dgan:digits": "There is no paper 'dgan': `python -m gan_jax list` shows them all",
    "cost mlp:smal": "mlp has no preset 'smal' (did you mean 'small'?): it has small, wide.",
    "cost": "PAPER must be given: --help shows how.",
    "train": "The paper must be named: python -m gan_jax train PAPER[:PRESET] [flags]",
    "train mlp wide": "'wide' is one word too many: --help shows what can be given.",
    "train mlp:small --form x": "There is no flag --form (did you mean '--from'?): --help shows them all.",
    "train nowhere.py": "There is no file nowhere.py: give the path of a paper's file, or a name such as 'dcgan'.",
    "new mine": "mine must end in .py, as in mine.py.",
    "sample nowhere": "nowhere is not a run: it has no config.json. Give the folder that --run named.",
    "sample RUN --out x.jpg": "--out x.jpg must end in .npz or .png.",
    "sample RUN --out x": "--out x must end in .npz or .png.",
    "sample RUN --out file/deep/x.npz": "file/deep/x.npz cannot be written (Not a directory); choose another place.",
    "sample RUN --n 0": "--n is 0: it must be 1 or more.",
    "sample RUN --n few": "--n is 'few': it must be a whole number or None.",
    "sample RUN --class 10": "y is 10, but the classes are 0 to 9.",
    "sample RUN --truncation 0": "truncation is 0.0, but the bound of |z| must be positive; 2 is mild.",
    "sample RUN --step 3": "There is no checkpoint 3 in RUN/checkpoints; there are [2, 4].",
    "sample RUN --sed 3": "There is no flag --sed (did you mean '--seed'?): --help shows them all.",
    "sample RUN --paper swap": "This is a run of 'mlp:small', not of 'swap:small': give that paper's file.",
    "replay RUN": "RUN is at round 4: give a later round as steps.",
    "replay RUN --member 0": "RUN is a single training without members: leave out the member.",
    "replay RUN --step 3": "There is no checkpoint 3 in RUN/checkpoints; there are [2, 4].",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_what_the_user_of_a_command_can_correct(shell, tmp_path, mlp_run, words):
    (tmp_path / "file").touch()
    fill = lambda text: text.replace("RUN", str(mlp_run[0]))
    code, out, err = shell("gan_jax", *fill(words).split())
    assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith(f"error: {fill(COMMANDS[words])}"), err


@pytest.mark.parametrize("words", WORDS)
def test_what_the_user_of_a_paper_can_correct(shell, tmp_path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    pictures(tmp_path / "few")
    pictures(tmp_path / "spoilt", spoilt=True)
    code, out, err = shell("dcgan.py", *words.split())
    *said, line = err.splitlines()
    assert code == 2 and out == "" and said == (["'few': 3 pictures."] if "--data few" in words else [])
    assert line.startswith(f"error: {WORDS[words]}".replace("HERE", str(tmp_path))), line


def test_a_folder_of_another_run_names_the_fields(shell, mlp_run):
    code, out, err = shell("mlp.py", "wide", "--run", mlp_run[0], "--lr", 0.1, "--steps", 9)
    differ = "lr 0.001 → 0.1, paper mlp:small → mlp:wide, width 8 → 16"
    assert code == 2 and out == ""
    assert err == f"error: {mlp_run[0]} holds another run ({differ}): give another --run, or the same values again.\n"


@pytest.mark.parametrize("look", [{"COLUMNS": "20"}, {"COLUMNS": "300", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_sentence_does_not_depend_on_the_terminal(shell, monkeypatch, look):
    for name, value in look.items():
        monkeypatch.setenv(name, value)
    assert shell("gan_jax", "cost")[2] == "error: PAPER must be given: --help shows how.\n"
    line = "error: --order is 'x': it must be simultaneous, alternating, same_fakes or waiting.\n"
    assert shell("dcgan.py", "digits", "--order", "x")[2] == line
