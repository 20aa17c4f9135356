"""Reinforcement: what advantages and loss are, which rows a round gives, and that no kill makes it play again."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from prentice.errors import TrainingError
from prentice.progress import Silent
from prentice.records import Checkpoint
from prentice.training.forest import Batch, Row, plant
from prentice.training.grpo.config import GRPOConfig
from prentice.training.grpo.losses import ADVANTAGE, OLD, SAMPLED, group_advantages, grpo_loss
from prentice.training.grpo.rolled import Rolled, Said
from prentice.training.grpo.round import Round
from prentice.training.grpo.rows import FreshRows
from prentice.training.grpo.train import train_grpo
from prentice.training.method import REFERENCE
from test_training_sft import SOURCE, Heard, curve
from tiny_models import write_tiny_llama

LOW, HIGH = 0.2, 0.28
CONFIG = GRPOConfig(epochs=3, batch=2, group=3, cases=4, lora_rank=4, lora_alpha=8, learning_rate=0.01, updates=2)


# --- advantages ----------------------------------------------------------------------------------------------------


def test_advantages_are_distances_from_the_groups_mean_in_deviations() -> None:
    # mean 1/2, deviation 1/2; mean 1/4, deviation sqrt(1/4 · 3/4) = 0.4330
    found = group_advantages(torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1]]))
    expected = torch.tensor([[1.0, -1, -1, 1], [-0.57735, -0.57735, -0.57735, 1.73205]])
    assert torch.allclose(found, expected, atol=1e-5)


def test_without_scale_advantages_are_centred_only() -> None:
    found = group_advantages(torch.tensor([[3.0, 1, 2]]), scale=False)
    assert found.tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize("scale", [True, False])
def test_equal_rewards_are_worth_nothing_whatever_rounding_does(scale: bool) -> None:
    # 0.1 three times has a mean that is not 0.1
    assert group_advantages(torch.full((1, 3), 0.1, dtype=torch.float64), scale=scale).tolist() == [[0.0, 0.0, 0.0]]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="a group of 1 has nothing to compare with"):
        group_advantages(torch.tensor([[1.0]]))


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=9), st.integers(-10, 10), st.integers(1, 50))
def test_advantages_sum_to_nothing_and_no_unit_of_reward_changes_them(
    rewards: list[int], shift: int, factor: int
) -> None:
    row = torch.tensor([rewards], dtype=torch.float64)
    found = group_advantages(row)
    assert abs(float(found.sum())) < 1e-9
    assert torch.allclose(group_advantages(row * factor + shift), found, atol=1e-4)


# --- loss ----------------------------------------------------------------------------------------------------------


def batch_of(advantage: float, old: float, sampled: float, reference: float = 0.5, weight: float = 1.0) -> Batch:
    """One supervised token; numbers are probabilities."""
    given = {ADVANTAGE: (advantage,), OLD: (math.log(old),), SAMPLED: (math.log(sampled),)}
    return plant([Row((1, 2), (3,), weight, {**given, REFERENCE: (math.log(reference),)})])


def value_and_slope(batch: Batch, now: float, kl: float = 0.0, most: float = 2.0) -> tuple[float, float]:
    """The loss where the token has the probability `now`, and its derivative by the log-probability."""
    logprobs = torch.tensor([math.log(now)], requires_grad=True)
    loss: Tensor = grpo_loss(LOW, HIGH, kl, most)(logprobs, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    return loss.item(), logprobs.grad.item()


@pytest.mark.parametrize(
    ("advantage", "now", "value", "slope"),
    [
        (1.0, 0.5, -1.0, -1.0),  # ratio 1
        (1.0, 0.6, -1.2, -1.2),  # ratio 1.2, within 1.28
        (1.0, 0.7, -1.28, 0.0),  # ratio 1.4: clipped, pulls no further
        (1.0, 0.3, -0.6, -0.6),  # ratio 0.6, better tries pull it back up
        (-1.0, 0.3, 0.8, 0.0),  # ratio 0.6: clipped at 0.8
        (-1.0, 0.45, 0.9, 0.9),  # ratio 0.9, within 0.8
        (-1.0, 0.7, 1.4, 1.4),  # ratio 1.4, worse tries push it back down
        (0.0, 0.7, 0.0, 0.0),
    ],
)
def test_the_loss_is_the_clipped_gain_with_its_sign_turned(
    advantage: float, now: float, value: float, slope: float
) -> None:
    found = value_and_slope(batch_of(advantage, old=0.5, sampled=0.5), now)
    assert found == pytest.approx((value, slope), abs=1e-6)


@pytest.mark.parametrize(
    ("sampled", "weight"), [(0.5, 1.0), (0.4, 1.25), (0.25, 2.0), (0.1, 2.0), (0.8, 0.625)], ids=str
)
def test_a_token_weighs_what_the_trainer_finds_it_likelier_than_the_sampler_did_up_to_a_cap(
    sampled: float, weight: float
) -> None:
    value, slope = value_and_slope(batch_of(1.0, old=0.5, sampled=sampled), now=0.5)
    assert (value, slope) == pytest.approx((-weight, -weight), abs=1e-6)


def test_the_divergence_from_the_reference_is_added_and_not_corrected() -> None:
    # ratio 0.8, d = log(0.2 / 0.4): 0.8 (exp(d) - d - 1) = 0.8 (0.5 + 0.693147 - 1) = 0.154518; both factors depend on
    # the log-probability, and the second has the derivative 1 - exp(d) = 0.5: 0.154518 + 0.8 · 0.5
    batch = batch_of(0.0, old=0.5, sampled=0.1, reference=0.2)
    assert value_and_slope(batch, now=0.4, kl=0.1) == pytest.approx((0.0154518, 0.0554518), abs=1e-6)


def test_a_rows_weight_multiplies_its_loss() -> None:
    assert value_and_slope(batch_of(1.0, 0.5, 0.5, weight=3.0), now=0.5)[0] == pytest.approx(-3.0)


# --- rounds --------------------------------------------------------------------------------------------------------


def rolled(case: str, attempt: int, reward: float | None, turns: int = 1, failure: str = "") -> Rolled:
    """A try whose replies are two tokens of its own, which llama.cpp found about as likely as a random model does."""
    said = tuple(Said(prompt=(5, 6, 7 + turn), reply=(20 + attempt, 2), sampled=(-6.0, -6.0)) for turn in range(turns))
    return Rolled(case=case, attempt=attempt, reward=reward, turns=said if reward is not None else (), failure=failure)


def test_each_turn_is_a_row_and_only_what_the_student_drew_is_supervised() -> None:
    tries = [rolled("a", 0, 1.0, turns=2), rolled("a", 1, 0.0)]
    items = Round.of(tries).items(scale=True)
    assert [item.row.prompt for item in items] == [(5, 6, 7), (5, 6, 8), (5, 6, 7)]
    assert [item.row.reply for item in items] == [(20, 2), (20, 2), (21, 2)]
    assert [item.row.given[ADVANTAGE][0] for item in items] == pytest.approx([1.0, 1.0, -1.0], abs=1e-5)
    assert [(item.family, item.turn) for item in items] == [("a, try 0", 0), ("a, try 0", 1), ("a, try 1", 0)]


def test_a_group_with_equal_rewards_is_left_out_and_counted() -> None:
    found = Round.of([rolled("a", n, 1.0) for n in range(3)] + [rolled("b", n, float(n)) for n in range(3)])
    assert (len(found.groups), found.equal) == (1, 1)
    assert found.words() == "6 tries, reward 1, 1 of 2 groups vary"


def test_a_try_that_fails_is_counted_and_its_group_goes_on_with_those_left() -> None:
    broken = rolled("a", 1, None, failure="environment: boom")
    found = Round.of([rolled("a", 0, 1.0), broken, rolled("a", 2, 0.0)])
    (group,) = found.groups
    assert [each.attempt for each in group] == [0, 2]
    assert found.failed == 1
    assert [item.row.given[ADVANTAGE][0] for item in found.items(scale=False)] == [0.5, -0.5]
    assert "1 tries failed" in found.words()


def test_a_group_of_which_one_try_is_left_is_dropped_and_counted() -> None:
    found = Round.of([rolled("a", 0, 1.0), rolled("a", 1, None, failure="model: gone")])
    assert (len(found.groups), found.alone, found.failed) == (0, 1, 1)
    assert "1 groups dropped with fewer than two tries left" in found.words()


# --- runs ----------------------------------------------------------------------------------------------------------


class Script:
    """Plays rounds from a script: the rewards of the two cases of each round, and what goes wrong at one."""

    def __init__(self, rewards: Sequence[Sequence[float | None]] = ((0, 1, 0), (1, 1, 1)), dies_at: int = -1) -> None:
        self.rewards, self.dies_at = rewards, dies_at
        self.played: list[int] = []
        self.weights: list[Tensor] = []

    def __call__(self, number: int, weights: Path) -> list[Rolled]:
        (file,) = weights.glob("adapter/adapter_model.safetensors")
        self.weights.append(torch.cat([tensor.flatten() for tensor in load_file(file).values()]))
        if number == self.dies_at:
            os._exit(9)
        self.played.append(number)
        return [
            rolled(f"case{case}", attempt, reward, failure="" if reward is not None else "model: gone")
            for case, group in enumerate(self.rewards)
            for attempt, reward in enumerate(group)
        ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("base"))


def train(base: Path, out: Path, script: Script, config: GRPOConfig = CONFIG, heard: Heard | None = None) -> Checkpoint:
    return train_grpo(config, script, cases=4, data="d", base=base, out=out, source=SOURCE, progress=heard or Silent())


def adapter(out: Path) -> dict[str, Tensor]:
    return dict(load_file(out / "adapter" / "adapter_model.safetensors"))


def test_a_run_plays_each_round_with_the_weights_it_has_and_makes_better_tries_likelier(
    base: Path, tmp_path: Path
) -> None:
    script, heard = Script(), Heard()
    checkpoint = train(base, tmp_path, script, heard=heard)
    # 3 passes over 4 cases, 2 a round, 2 updates each
    assert script.played == list(range(6))
    assert checkpoint.steps == 12
    assert checkpoint.method == "grpo"
    assert not torch.equal(script.weights[0], script.weights[1])
    figures = checkpoint.figures
    assert (figures["rounds"], figures["tries"], figures["groups_learnt_from"], figures["groups_equal"]) == (
        6,
        36,
        6,
        6,
    )
    assert figures["sampler_gap"] > 0
    assert figures["gradient_difference"] < 1e-5
    rounds = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((tmp_path / "rounds").rglob("*.json"))]
    # try 1 is the one with the reward: its first token becomes likelier, and likelier than that of a rival
    first, last = (kept["old"] for kept in (rounds[0], rounds[-1]))
    assert last[1][0] > first[1][0] + 1
    assert last[1][0] - last[0][0] > first[1][0] - first[0][0] + 1
    assert "round 1: 6 tries, reward 0.667, 1 of 2 groups vary" in heard.lines[0]


def test_the_reference_is_the_student_before_the_run(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path, Script())
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((tmp_path / "rounds").rglob("*.json"))]
    assert kept[0]["reference"] == kept[0]["old"]  # the adapter begins as nothing
    assert all(each["reference"] == kept[0]["reference"] for each in kept)
    assert kept[-1]["old"] != kept[-1]["reference"]


def test_without_a_divergence_no_reference_is_computed(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path, Script(), CONFIG.model_copy(update={"kl": 0.0, "epochs": 1}))
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in (tmp_path / "rounds").rglob("*.json")]
    assert [each["reference"] for each in kept] == [[], []]


OFTEN = CONFIG.model_copy(update={"save_seconds": 0.0, "epochs": 2})
"""A state is saved after every step."""


def killed(base: str, out: str) -> None:
    """Train until the third round, in which the process ends as if killed."""
    train(Path(base), Path(out), Script(dies_at=2), OFTEN)


def test_a_run_that_was_killed_at_play_goes_on_with_the_same_numbers_and_plays_no_round_again(
    base: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(base, whole, Script(), OFTEN)
    code = f"from test_training_grpo import killed; killed({str(base)!r}, {str(cut)!r})"
    paths = os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert ended.returncode == 9
    assert not (cut / "checkpoint.json").exists()
    script = Script()
    train(base, cut, script, OFTEN)
    assert script.played == [2, 3]
    assert curve(cut) == curve(whole)
    assert all(torch.equal(tensor, adapter(whole)[name]) for name, tensor in adapter(cut).items())


def test_rounds_of_another_recipe_are_not_taken_for_ones_own(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path, Script(), CONFIG.model_copy(update={"epochs": 1}))
    script = Script()
    train(base, tmp_path, script, CONFIG.model_copy(update={"epochs": 1, "learning_rate": 0.02}))
    assert script.played == [0, 1]


def test_rounds_with_equal_rewards_only_are_told_and_passed_over(base: Path, tmp_path: Path) -> None:
    class Late(Script):
        def __call__(self, number: int, weights: Path) -> list[Rolled]:
            self.rewards = ((0, 0, 0), (0, 0, 0)) if number < 2 else ((0, 1, 0), (0, 0, 0))
            return super().__call__(number, weights)

    script, heard = Late(), Heard()
    checkpoint = train(base, tmp_path, script, CONFIG.model_copy(update={"epochs": 1}), heard)
    assert script.played == [0, 1, 2, 3]
    assert checkpoint.steps == 4
    assert "round 1: 6 tries, reward 0, 0 of 2 groups vary" in heard.lines[0]


def test_groups_with_equal_rewards_only_round_after_round_end_the_run_in_one_line(base: Path, tmp_path: Path) -> None:
    script = Script(((0, 0, 0), (1, 1, 1)))
    with pytest.raises(TrainingError) as error:
        train(base, tmp_path, script)
    assert script.played == [0, 1, 2]
    assert error.value.problem == (
        "train.grpo: in 3 rounds in a row no group's rewards differed (mean reward 0.5), so there is nothing to learn "
        "from"
    )
    assert "--probe" in error.value.hint
    assert "warm up by SFT" in error.value.hint


class Learnt(Script):
    """Plays two rounds that teach something, and then ones that all end alike."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self.end = end

    def __call__(self, number: int, weights: Path) -> list[Rolled]:
        self.rewards = ((0, 1, 1), (0, 0, 1)) if number < 2 else ((self.end,) * 3, (self.end,) * 3)
        return super().__call__(number, weights)


def test_a_student_that_has_learnt_all_before_its_rounds_are_over_ends_with_its_checkpoint(
    base: Path, tmp_path: Path
) -> None:
    script, heard = Learnt(end=1), Heard()
    checkpoint = train(base, tmp_path, script, heard=heard)
    assert script.played == [0, 1, 2, 3, 4]
    assert (checkpoint.steps, checkpoint.figures["rounds"], checkpoint.figures["reward_last"]) == (4, 5, 1)
    told = "in 3 rounds in a row no group's rewards differed (mean reward 1): nothing more to learn, the run ends here"
    assert heard.lines[-1] == told
    # the weights are those that played last, not those before
    assert torch.equal(torch.cat([tensor.flatten() for tensor in adapter(tmp_path).values()]), script.weights[-1])
    # and the same command has nothing left to do
    train(base, tmp_path, script)
    assert script.played == [0, 1, 2, 3, 4]


def test_a_student_that_has_learnt_to_do_worse_ends_with_its_checkpoint_and_what_to_set(
    base: Path, tmp_path: Path
) -> None:
    heard = Heard()
    train(base, tmp_path, Learnt(end=0), heard=heard)
    assert heard.lines[-1] == (
        "in 3 rounds in a row no group's rewards differed (mean reward 0): nothing more to learn, the run ends here; "
        "it was 0.5 in the rounds that were learnt from: try a smaller train.grpo.learning_rate, or a larger "
        "train.grpo.kl"
    )


def test_a_round_in_which_every_try_fails_ends_the_run_and_says_why(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="all 6 tries of a round failed; the first: model: gone"):
        train(base, tmp_path, Script(((None, None, None), (None, None, None))))


def test_training_all_weights_leaves_no_reference_to_diverge_from(base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"train.grpo.method = \"full\" changes the weights that kl = 0.02 compares"
    ):
        train(base, tmp_path, Script(), CONFIG.model_copy(update={"method": "full"}))


def test_all_weights_can_be_trained_without_it(base: Path, tmp_path: Path) -> None:
    class Whole(Script):
        def __call__(self, number: int, weights: Path) -> list[Rolled]:
            assert (weights / "model" / "config.json").exists()
            return [rolled("a", 0, 1.0), rolled("a", 1, 0.0)]

    config = CONFIG.model_copy(update={"method": "full", "kl": 0.0, "epochs": 1, "learning_rate": 1e-4})
    assert train(base, tmp_path, Whole(), config).kind == "full"


def test_replies_whose_likelihood_llama_cpp_does_not_tell_are_not_corrected(base: Path, tmp_path: Path) -> None:
    class Silenced(Script):
        def __call__(self, number: int, weights: Path) -> list[Rolled]:
            tries = super().__call__(number, weights)
            untold = tuple(said.model_copy(update={"sampled": ()}) for said in tries[0].turns)
            return [tries[0].model_copy(update={"turns": untold}), *tries[1:]]

    rows = FreshRows(CONFIG, 4, Silenced(), tmp_path / "rounds", Silent())
    found = train_grpo(
        CONFIG.model_copy(update={"epochs": 1}),
        rows.rollouts,
        cases=4,
        data="d",
        base=base,
        out=tmp_path,
        source=SOURCE,
    )
    assert found.steps == 4


def test_cases_fill_rounds_and_passes() -> None:
    config = GRPOConfig(cases=64, batch=10, epochs=2)
    assert config.rounds(64) == 7
    assert config.iterations(64) == 14
    assert GRPOConfig(epochs=0.01).iterations(64) == 1
