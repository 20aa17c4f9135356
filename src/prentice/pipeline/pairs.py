"""Pairs and thumbs of a project: from its teacher's rollout, what people said since, and the student's own attempts.

They lie in `.prentice/pairs/`, each set under the hash of what it was made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from prentice import __version__
from prentice.curation import PairsConfig, curate_pairs, curate_thumbs, pairs_summary
from prentice.curation.critic import Hearing, Question, answered, asked_of, hear
from prentice.curation.material import Material, material
from prentice.curation.parting import Candidate, from_critic, from_edits, from_episodes, undecided
from prentice.curation.rows import Render, Row
from prentice.errors import ConfigError
from prentice.models import catalogue
from prentice.models.prices import cost, in_words
from prentice.models.specs import LOCAL, RECORDED, price_of
from prentice.pipeline.ablation.pools import stored
from prentice.pipeline.bases import base_gguf
from prentice.pipeline.forecast import CHARACTERS_PER_TOKEN
from prentice.pipeline.project import TASK, Project
from prentice.progress import Progress
from prentice.records import Episode, Manifest, Usage, digest
from prentice.records.filters import Filter
from prentice.records.parquet import MANIFEST
from prentice.records.store import Store
from prentice.rollouts import SHAPE_REPLIES, play_all, run_id
from prentice.runs import read_record

FOLDER, ATTEMPTS = "pairs", "attempts.db"


@dataclass(frozen=True)
class Made:
    """A set of pairs or thumbs on disk."""

    folder: Path
    manifest: Manifest

    def lines(self, thumbs: bool) -> Sequence[str]:
        """What is in it, in words."""
        return pairs_summary(self.manifest, "thumbs" if thumbs else "pairs")


def pairs_inputs(project: Project) -> list[JsonValue]:
    """All that they depend on besides the student; hashed to know whether to make them again."""
    config, rollout = project.config.pairs, project.config.rollout
    spec = project.config.teacher.model
    run = run_id(project.task, project.identity(spec), "teacher", "train", rollout)
    filters = [Filter(run=run), *([Filter.parse(config.where)] if config.where else [])]
    with project.store() as store:
        ids = sorted({name for each in filters for name in store.ids(each)})
        said = digest([each.model_dump(mode="json") for each in store.feedback_on(ids)])
        content = digest(sorted(store.content_hashes(ids).items()))
    inputs: list[JsonValue] = [project.config.train.preference.loss, config.content(), content, said]
    inputs += [project.task.fingerprint(), rollout.model_dump(mode="json", include={"cases", "tries"})]
    if config.student_tries:
        inputs += [project.config.export.quantization, rollout.model_dump(mode="json", include={*SHAPE_REPLIES})]
    return inputs


def make_pairs(project: Project, student: catalogue.Model | None, progress: Progress) -> Made:
    """Make the project's pairs, or its thumbs where [train.preference] learns from these; what is there is not made
    again.

    Args:
        student: as it is before preference learning; None: it makes no attempts.
    Raises: DataError if there is nothing to learn from; ConfigError if a critic is asked for and none is named.
    """
    config = project.config.pairs
    key = digest([*pairs_inputs(project), student.source.sha256 if student else "", __version__])
    out = project.home / FOLDER / key[:16]
    if (out / MANIFEST).exists():
        return Made(out, read_record(Manifest, out / MANIFEST))
    render = _render(project)
    made_of = material(_episodes(project, student, progress), config.better, render, progress)
    if project.config.train.preference.loss == "kto":
        return Made(out, curate_thumbs(config, made_of, render, out))
    candidates, notes = _candidates(project, made_of, render, progress)
    return Made(out, curate_pairs(config, made_of, candidates, out, notes))


def pairs_ahead(project: Project, progress: Progress) -> list[str]:
    """What making them would do and cost, in words; nothing is done."""
    config, lines = project.config.pairs, []
    cases = project.task.cases("train")
    if config.student_tries:
        count = len(cases[: config.student_cases or None])
        lines.append(
            f"the student makes {config.student_tries} attempts at each of {count:,} training cases, on this machine; "
            "what they come to is not known yet"
        )
    made_of = material(_episodes(project, None, progress), config.better, _render(project), progress)
    lines.append(f"{sum(len(rows) for rows in made_of.rows.values()):,} replies of stored episodes are looked at")
    if "critic" in config.sources:
        questions = _questions(made_of, undecided(made_of, config.per_case))
        lines.append(_calls_ahead(project, questions))
    return lines


def _candidates(
    project: Project, made_of: Material, render: Render, progress: Progress
) -> tuple[list[Candidate], Sequence[str]]:
    """Those of every source, and what is to be known of the critic."""
    sources = project.config.pairs.sources
    found = from_edits(made_of, render) if "edits" in sources else []
    if "episodes" in sources:
        found += from_episodes(made_of, strict=not found)
    if "critic" not in sources:
        return found, ()
    sides = undecided(made_of, project.config.pairs.per_case)
    name, hearing = _hear(project, _questions(made_of, sides), progress)
    return found + from_critic(made_of, sides, hearing.judged), hearing.told(name)


def _hear(project: Project, questions: Sequence[Question], progress: Progress) -> tuple[str, Hearing]:
    config = project.config.pairs.critic
    spec = _critic(project.config.pairs)
    policy = project.open_policy(spec, slots=config.concurrency or 1, threads=project.config.threads, progress=progress)
    place = project.home / FOLDER
    return policy.name, hear(questions, policy, config, project.identity(spec), place, progress)


def _critic(config: PairsConfig) -> str:
    if not config.critic.model:
        raise ConfigError(
            'pairs.sources names "critic", and pairs.critic.model names no model',
            'name one that did not write the replies: [pairs.critic] model = "anthropic:…"',
        )
    return config.critic.model


def _questions(made_of: Material, sides: Sequence[tuple[Row, Row]]) -> list[Question]:
    return [
        # the longer of two prompts has the fuller instructions
        Question(
            max(made_of.asked(one), made_of.asked(other), key=lambda chat: sum(len(m.content) for m in chat)),
            one.example.reply,
            other.example.reply,
        )
        for one, other in sides
    ]


def _calls_ahead(project: Project, questions: Sequence[Question]) -> str:
    """Calls of the critic that are still ahead, their tokens (estimated), their price."""
    config = project.config.pairs.critic
    spec = _critic(project.config.pairs)
    asked = asked_of(questions, config, project.identity(spec))
    known = answered(project.home / FOLDER, (key for key, _ in asked))
    ahead = [request for key, request in asked if key not in known]
    tokens = sum(len(m.content) for request in ahead for m in request.messages) // CHARACTERS_PER_TOKEN
    text = f"critic {spec}: {len(questions):,} pairs of replies, {len(ahead):,} calls, about {tokens:,} tokens to read"
    if spec.startswith((LOCAL, RECORDED, TASK)):
        return f"{text}, on this machine, no dollars"
    price = price_of(spec, project.config.providers)
    if price is None:
        return f"{text}, price unknown"
    most = Usage(input_tokens=tokens, output_tokens=len(ahead) * config.max_tokens)
    return f"{text}, at most ${cost(most, price) or 0.0:,.2f} ({in_words(price)})"


def _render(project: Project) -> Render:
    return lambda function, inputs: project.task.render(function, inputs, "student")


def _episodes(project: Project, student: catalogue.Model | None, progress: Progress) -> list[Episode]:
    with project.store() as store:
        found = _stored(project, store)
    if student is not None and project.config.pairs.student_tries:
        found += _attempts(project, student, progress)
    return found


def _stored(project: Project, store: Store) -> list[Episode]:
    """The teacher's rollout, and what [pairs] where names besides."""
    rollout = project.config.rollout
    found = stored(project, project.task.cases("train")[: rollout.cases or None], rollout.tries, store)
    if where := project.config.pairs.where:
        known = {e.id for e in found}
        more = store.episodes(Filter.parse(where))
        found += [e for e in more if e.split != "test" and e.id not in known]
    return found


def _attempts(project: Project, student: catalogue.Model, progress: Progress) -> list[Episode]:
    """The student's own, in a store of their own: nobody shall take them for the teacher's."""
    config = project.config.pairs
    cases = project.task.cases("train")[: config.student_cases or None]
    heat = config.student_temperature
    rules = project.config.rollout.model_copy(
        update={
            "tries": config.student_tries,
            "temperature": heat,
            "retry_temperature": heat,
            "cases": 0,
            "concurrency": None,
        }
    )
    gguf = base_gguf(project, student, progress)
    name = f"student:{gguf.parent.name}"
    with Store.open(project.home / FOLDER / ATTEMPTS, project.guard) as store:
        policy = project.open_student(gguf, name)
        run = play_all(project.task, policy, cases, store, rules, audience="student", identity=name, progress=progress)
        wanted = {case.id for case in cases}
        return [e for e in store.episodes(run=run) if e.case in wanted and e.attempt < config.student_tries]
