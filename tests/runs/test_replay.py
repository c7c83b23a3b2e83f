"""gan_jax/replay.py: faults are found where they were planted, and infinities that do no harm are not blamed."""

import inspect
import re
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from toy import POINTS, bits

import gan_jax
from gan_jax import losses, population
from gan_jax.errors import UserError
from gan_jax.game import Game, Loss, Player, move
from gan_jax.optimizers import adam, sgd
from gan_jax.runs import replay as module
from gan_jax.runs.replay import first_fault, replay
from gan_jax.runs.train import prepare
from gan_jax.training import checkpoint
from gan_jax.training.options import Devices

pytestmark = pytest.mark.usefixtures("no_curves")

train = partial(gan_jax.train, batch=8, seed=0, progress=False)


@dataclass(frozen=True)
class Config:
    rate: float = 1.0


class Tower(nn.Module):
    """x [b, 2] -> [b, 2], by two named layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="top")(nn.relu(nn.Dense(3, name="base")(x)))


def mean(nets, batch, key, step):
    return {"G": Loss(nets["G"](batch["x"]).mean())}


def alone(play=mean, optimizer=None, **rest):
    """A game of one."""
    return Game({"G": Player(Tower(), optimizer or adam(1e-3))}, play, (move("G"),), **rest)


def of(game):
    """The training of a game."""
    return prepare(game, POINTS, 8, 0, Devices(), None)


def fault_of(game, steps):
    """The first fault of a training from round 0 on."""
    training = of(game)
    return first_fault(training, training.initial(), steps)


def line(function, text):
    """file:line of the first line of a function that has this text."""
    lines, first = inspect.getsourcelines(function)
    return f"test_replay.py:{first + next(i for i, found in enumerate(lines) if text in found)}"


def test_an_overflow_in_a_layer():
    training = of(alone())
    state = training.initial()
    state.params["G"]["top"]["kernel"] = jnp.full((3, 2), 3e38)
    state.params["G"]["base"]["bias"] = jnp.full(3, 9.0)
    fault = first_fault(training, state, 5)
    assert (fault.round, fault.where, fault.value, fault.phase) == (1, "G/Tower/top", "inf", "forward pass")
    assert fault.primitive == "dot_general" and fault.line == line(Tower, "top") and np.isinf(fault.losses["G"])
    assert str(fault) == (
        f"Round 1: G/Tower/top is inf for the first time, in the forward pass (dot_general, {line(Tower, 'top')})"
    )


def test_what_is_not_finite_in_the_gradient_alone():
    def play(nets, batch, key, step):
        x = nets["G"](batch["x"]) + 1
        centred = x - jnp.where(step >= 3, jax.lax.stop_gradient(x), 0)
        return {"G": Loss(jnp.sqrt(jnp.square(centred).sum(-1)).mean())}

    fault = fault_of(alone(play), 9)
    assert (fault.round, fault.where, fault.value, fault.phase) == (4, "play", "inf", "gradient")
    assert fault.line == line(play, "sqrt") and fault.losses == {"G": 0.0}


@pytest.mark.parametrize("optimizer", [adam(1e-3), sgd(lambda count: jnp.where(count == 2, 1e38, 0))])
def test_an_overflow_in_the_update(optimizer):
    def steep(nets, batch, key, step):
        return {"G": Loss(jnp.where(step == 2, 1e25, 1) * (nets["G"](batch["x"]) + 1).mean())}

    fault = fault_of(alone(steep, optimizer), 9)
    assert (fault.round, fault.where, fault.value, fault.phase) == (3, "G", "inf", "update")
    assert 1e23 < abs(fault.losses["G"]) < 1e26


def test_infinities_that_do_no_harm():
    def play(nets, batch, key, step):
        x = nets["G"](batch["x"])
        positive = batch["x"] > 0
        softly = jax.nn.logsumexp(jnp.where(positive, x, -jnp.inf))
        chosen = jnp.where(positive, 1 / jnp.where(positive, 1.0, 0.0), 2)  # an infinity nobody takes
        return {"G": Loss(softly + chosen.mean() + jnp.log(x.min() + jnp.where(step >= 3, -9, 9)))}

    fault = fault_of(alone(play), 9)
    assert (fault.round, fault.value, fault.phase) == (4, "nan", "forward pass"), fault
    assert fault.primitive == "log" and fault.line == line(play, "x.min()")


def test_without_a_good_round_before_either():
    def play(nets, batch, key, step):
        x = nets["G"](batch["x"])
        return {"G": Loss(jnp.exp(-1 / jnp.zeros(())) + jnp.log(x.min() - 9))}

    fault = fault_of(alone(play), 9)
    assert (fault.round, fault.primitive) == (1, "log")


def test_what_no_equation_made():
    play = lambda nets, batch, key, step: {"G": Loss(nets["G"](batch["x"]).mean() + nets.memory["least"])}
    assert str(fault_of(alone(play, memory={"least": jnp.inf}), 1)) == "Round 1: loss/G is inf for the first time"


def playing_twice(bad):
    """Two who move in turn, G only when it loses, first once and from round 3 on with two moves of D."""

    def play(nets, batch, key, step):
        fake = nets["G"](jax.random.normal(key, batch["x"].shape))
        score = lambda x: nets["D"](x).mean()
        loss = score(batch["x"]) - score(fake)
        # The batch and the noise decide when it breaks: other ones would break in another round.
        return {"D": Loss(jnp.where(loss > bad, jnp.nan, loss)), "G": Loss(score(fake))}

    players = {"G": Player(Tower(), sgd(0.05)), "D": Player(Tower(), sgd(0.05))}
    waits = move("G", again=("batch",), when=lambda metrics: metrics["loss/D"] < 0)
    games = [Game(players, play, (*k * (move("D"),), waits)) for k in (1, 2)]
    return lambda t: games[t >= 3]


def test_the_round_of_training_bit_for_bit(tmp_path, monkeypatch):
    """With moves that wait, and under a schedule whose rounds read more from round 3 on."""
    rows, seen, replayed, how = [], {}, [], {"steps": 12, "seed": 7}  # D's loss is largest in a late round
    train(playing_twice(np.inf), POINTS, log_every=1, writers=[rows.append], **how)
    values = [row["loss/D"] for row in rows]
    worst = max(range(8, 12), key=lambda t: values[t])
    assert values[worst] > max(values[:worst])
    game = playing_twice((values[worst] + max(values[:worst])) / 2)
    explain = module.explain

    def spy(game, state, batch, after, *rest):
        replayed.append((bits(state), bits(after)))
        return explain(game, state, batch, after, *rest)

    monkeypatch.setattr(module, "explain", spy)
    watch = (1, lambda run, t: seen.update({t: bits(run.state)}))
    with pytest.raises(UserError, match=rf"of round 8; .* start again\. Round {worst + 1}: play is nan for the first"):
        train(game, POINTS, callbacks=[watch], checkpoint_every=4, run=tmp_path, **how)
    assert replayed == [(seen[worst], seen[worst + 1])]
    fault = replay(tmp_path, POINTS, game, steps=12, progress=False)
    assert fault.round == worst + 1 and np.isnan(fault.losses["D"]) and fault.phase == "forward pass"


@pytest.mark.parametrize("dispatch", [1, 3])
@pytest.mark.parametrize("spoilt", ["loss", "game"])
def test_nothing_that_is_not_finite_gets_into_a_checkpoint(tmp_path, spoilt, dispatch):
    """Whichever round of a dispatch it was, and though the gradients look well; an infinity may be kept."""

    def play(nets, batch, key, step):
        now = jnp.where(step == 7, jnp.nan, 1.0)
        loss = nets["G"](batch["x"]).mean()
        if spoilt == "loss":
            return {"G": Loss(loss + now)}
        return {"G": Loss(loss, {}, {"game": {"least": jnp.inf + 0 * loss, "last": now + 0 * nets.memory["last"]}})}

    game = alone(play, memory={"least": jnp.inf, "last": 0.0})
    with pytest.raises(UserError, match=r"in round [89]: .* of round 6; .*Round 8: play is nan"):
        train(game, POINTS, steps=30, run=tmp_path, log_every=30, checkpoint_every=3, dispatch=dispatch)
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 6


def test_a_given_state_that_is_broken_already():
    training = of(alone())
    state = training.initial()
    state = state.replace(params=jax.tree.map(lambda x: x * jnp.nan, state.params))
    with pytest.raises(UserError, match="The State of round 0 is already not finite"):
        first_fault(training, state, 1)


def test_what_cannot_be_played(tmp_path):
    train(alone(), POINTS, steps=2, run=tmp_path)
    for data, how, said in [
        (POINTS + 1, {}, "not the data"),
        (POINTS, {}, "is at round 2: give a later round"),
        (POINTS, {"steps": 2}, "is at round 2: give a later round"),
        (POINTS, {"steps": 3, "member": 0}, "single training"),
    ]:
        with pytest.raises(UserError, match=said):
            replay(tmp_path, data, alone(), **how)
    assert replay(tmp_path, POINTS, alone(), steps=3, progress=False) is None


def test_a_member_of_a_population(tmp_path):
    def game(c):
        def play(nets, batch, key, step):
            loss = nets["G"](batch["x"]).mean() * c.rate
            return {"G": Loss(jnp.where((step >= 2) & (c.rate > 1), jnp.nan, loss))}

        return alone(play)

    many = population.of(game, Config(), seeds=[3, 4], sweep={"rate": [1.0, 2.0]})
    train(many, POINTS, steps=4, run=tmp_path, dispatch=2)
    fault = replay(tmp_path, POINTS, many, member=3, steps=4, progress=False)
    assert (fault.round, fault.where, fault.value, fault.phase) == (3, "play", "nan", "forward pass")
    assert replay(tmp_path, POINTS, many, member=1, steps=5, progress=False) is None
    for how, said in [
        ({}, "has 4 members, which are replayed one at a time: give"),
        ({"member": 4}, "There is no member 4: members are 0 to 3"),
        ({"member": 0}, "is at round 4: give"),
    ]:
        with pytest.raises(UserError, match=said):
            replay(tmp_path, POINTS, many, steps=4, **how)


@pytest.mark.slow
def test_the_command_says_what_the_run_said(shell, monkeypatch):
    hinge = losses.hinge

    def logarithmic(real, fake):
        loss_D, loss_G = hinge(real, fake)
        return jnp.log(loss_D - 1.6), loss_G  # near 2 at first, and soon below

    monkeypatch.setattr(losses, "hinge", logarithmic)
    flags = ["--run", "a", "--lr", 0.02, "--steps", 50, "--checkpoint-every", 1, "--sample-every", 100]
    code, _, err = shell("mlp.py", "small", *flags)
    said = err.splitlines()[-1]
    assert code == 2 and re.search(
        r"start again from there, with `python -m gan_jax fork .*/a --set FIELD=VALUE`", said
    )
    sentence = said[said.index("Round ") :]
    assert re.search(rf"in the forward pass \(log, {line(logarithmic, 'jnp.log')}\)\.$", sentence)
    code, out, err = shell("gan_jax", "replay", "a", "--steps", 60)
    assert code == 0 and out.splitlines()[0] == sentence
    assert out.splitlines()[1].startswith("Losses of that round: D nan, G ")
