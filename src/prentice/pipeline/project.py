"""A project: a folder with a `prentice.toml`, and under `.prentice/` everything that was made from it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from prentice.config import StageConfig, build, read_toml
from prentice.curation import CurateConfig, PairsConfig
from prentice.errors import ConfigError, UnknownNameError
from prentice.evaluation import EvaluateConfig
from prentice.models.fetch import sha256_of
from prentice.models.limits import ProviderConfig, settings_for
from prentice.models.policy import Policy
from prentice.models.specs import CONTEXT, LOCAL, RECORDED, Seats, open_policy, recording_files
from prentice.offline import refuse_network
from prentice.pipeline.ablation.config import AblateConfig
from prentice.privacy import PrivacyConfig, Redactor
from prentice.progress import Progress
from prentice.records import digest
from prentice.records.database import is_url
from prentice.records.store import Store
from prentice.rollouts import RolloutConfig
from prentice.serving.config import RecordConfig
from prentice.tasks import TASKS, Task, Teaching, functions_of
from prentice.training.config import ExportConfig, LaunchConfig, SFTConfig
from prentice.training.cpt.config import CPTConfig
from prentice.training.distill.config import DistillConfig
from prentice.training.grpo.config import GRPOConfig
from prentice.training.preference.config import PreferenceConfig

if TYPE_CHECKING:
    from prentice.models.local import LocalModel

FILE, HOME, STORE = "prentice.toml", ".prentice", "store.db"
TASK = "task:"
"""Begins the spec of a policy that the task itself brings."""


class TeacherConfig(StageConfig):
    """The large model that does the job today."""

    model: str
    """`recorded:FILES`, `local:NAME`, a provider and its model such as `anthropic:claude-haiku-4-5`, or `task:NAME` for
    a policy that the task brings, such as `task:clumsy expert`."""


class StudentConfig(StageConfig):
    """The small model that shall learn it."""

    base: str = "smollm2-135m"
    """A name of `prentice models list`, or the folder of a transformers model."""
    one_each: bool = False
    """Beside the student of all functions, train one for each function of the task on that function's replies alone,
    and compare."""


MethodName = Literal["cpt", "sft", "preference", "grpo", "distill"]
METHODS: tuple[MethodName, ...] = ("cpt", "sft", "preference", "grpo", "distill")


class TrainConfig(StageConfig):
    """How the student is trained."""

    stages: tuple[MethodName, ...] = ()
    """The methods, in their order, each of which starts from what the one before has made. Default: `sft`, and all
    others whose section stands in the file, in the order `cpt`, `sft`, `preference`, `grpo`, `distill`."""
    cpt: CPTConfig = CPTConfig()
    """Continued pretraining on documents."""
    sft: SFTConfig = SFTConfig()
    """Supervised fine-tuning on the curated rows."""
    preference: PreferenceConfig = PreferenceConfig()
    """Learning from pairs of replies, or from thumbs up and down."""
    grpo: GRPOConfig = GRPOConfig()
    """Reinforcement on the environment."""
    distill: DistillConfig = DistillConfig()
    """Learning from what a larger model of the same vocabulary thinks."""
    launch: LaunchConfig = LaunchConfig()
    """In how many processes."""

    @property
    def chain(self) -> tuple[MethodName, ...]:
        """The methods that the student goes through."""
        return self.stages or tuple(name for name in METHODS if name == "sft" or name in self.model_fields_set)


class ProjectConfig(StageConfig):
    """The whole of `prentice.toml`."""

    task: dict[str, Any]
    """What is to be learnt; `kind` names a built-in task or `my_module:MyTask`, the other keys are that task's."""
    teacher: TeacherConfig
    """Who does the job today."""
    student: StudentConfig = StudentConfig()
    """Who shall learn it."""
    students: tuple[str, ...] = ()
    """Several bases in place of [student] base: all are trained alike and compared in one report, whose verdict is
    about the first."""
    rollout: RolloutConfig = RolloutConfig()
    """How the teacher is rolled out on the training cases."""
    curate: CurateConfig = CurateConfig()
    """Which of its work is learnt from."""
    pairs: PairsConfig = PairsConfig()
    """What preference learning learns from."""
    train: TrainConfig = TrainConfig()
    """How the student learns."""
    export: ExportConfig = ExportConfig()
    """What the student is turned into for serving."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How the two are compared."""
    ablate: AblateConfig = AblateConfig()
    """What the student is trained on instead by `prentice ablate`, and how often."""
    providers: dict[str, ProviderConfig] = Field(default_factory=dict)
    """Limits and prices of remote models: by provider (`openai`), and over that by full name (`openai:gpt-5-mini`)."""
    record: RecordConfig = RecordConfig()
    """How work is recorded by `prentice record`."""
    privacy: PrivacyConfig = PrivacyConfig()
    """What is done about personal data before anything is stored."""
    store: str = ""
    """Where episodes are kept: a file, seen from the project's folder, or a database URL; `$NAME` reads an environment
    variable, so that no password stands here. Default: `.prentice/store.db`."""
    context: int = Field(CONTEXT, ge=128)
    """Tokens of context that local models keep for each chat. A longer prompt is an error; more takes more memory."""
    threads: int | None = Field(None, ge=1)
    """Computing threads of local models; default: as many as there are idle cores."""
    offline: bool = False
    """Refuse every connection that leaves this machine."""

    @model_validator(mode="before")
    @classmethod
    def _the_first_is_the_student(cls, data: Any) -> Any:
        names, student = data.get("students"), data.get("student", {})
        if not isinstance(names, list | tuple) or not names or not isinstance(student, dict):
            return data
        if student.get("base", names[0]) != names[0]:
            raise ValueError(
                f"students begins with {names[0]!r} and [student] base is {student['base']!r}: name it once"
            )
        if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
            raise ValueError(f"students names {twice!r} twice")
        return {**data, "student": {**student, "base": names[0]}}


class Project:
    """A project folder, opened.

    Args:
        folder: the folder that holds `prentice.toml` (or that file).
        overrides: `a.b=c` laid over the file.
        home: where its work is kept; default `.prentice` in the folder.
        config: stands in for what the file says.

    Raises: ConfigError, naming file, key and value.
    """

    def __init__(
        self,
        folder: str | Path,
        overrides: Sequence[str] = (),
        home: Path | None = None,
        config: ProjectConfig | None = None,
    ) -> None:
        path = Path(folder)
        self.file = path if path.suffix == ".toml" else path / FILE
        self.folder = self.file.parent
        self.home = home or self.folder / HOME
        self.overrides = tuple(overrides)
        self.config = config or build(ProjectConfig, read_toml(self.file, overrides), str(self.file))
        if self.config.offline:
            refuse_network()

    @cached_property
    def task(self) -> Task:
        """The task, made from its section."""
        section = dict(self.config.task)
        kind = section.get("kind")
        if not isinstance(kind, str):
            raise ConfigError(f"{self.file}: [task] kind is missing", f"known: {', '.join(TASKS.names())}")
        if ":" in kind and str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))  # a task of one's own lies beside its prentice.toml
        task_class = TASKS.load(kind)
        config = build(task_class.Config, section, f"{self.file}: [task]")
        task: Task = task_class(config, self.folder)
        if hasattr(task, "open_model"):
            # a judge or a simulated user has the limits and prices of the same sections as the teacher
            task.open_model = self.open_policy
        return task

    @property
    def command(self) -> str:
        """What runs it with these settings, as it is typed in a shell."""
        settings = [word for each in self.overrides for word in ("--set", each)]
        return shlex.join(["prentice", "run", str(self.folder), *settings])

    def store(self) -> Store:
        """The project's store of episodes."""
        return Store.open(self._place, self.guard)

    @cached_property
    def guard(self) -> Redactor | None:
        """What all that is stored passes before; None where personal data is not looked for."""
        return None if self.config.privacy.mode == "off" else Redactor(self.config.privacy)

    @property
    def has_store(self) -> bool:
        """Whether there is a store, as far as can be told without making one."""
        return is_url(self._place) or Path(self._place).exists()

    @property
    def _place(self) -> str | Path:
        place = self.config.store
        if not place:
            return self.home / STORE
        if place.startswith("$"):
            place = os.environ.get(place[1:], "")
        if not place:
            raise ConfigError(f"{self.file}: store = {self.config.store!r}: that environment variable is not set")
        return place if is_url(place) else self.folder / place

    def open_policy(
        self, spec: str, *, slots: int = 1, threads: int | None = None, progress: Progress | None = None
    ) -> Policy:
        """The policy that `spec` names, as `[teacher] model` may name it.

        Raises: PrenticeError of the kind that fits.
        """
        if spec.startswith(TASK):
            known = {**self.task.baselines(), **(self.task.teachers() if isinstance(self.task, Teaching) else {})}
            name = spec.removeprefix(TASK)
            if name not in known:
                raise UnknownNameError(f"the task has no policy named {name!r}", f"known: {', '.join(known) or 'none'}")
            return known[name]
        # whoever is asked elsewhere keeps its caches itself, and a task need not be read for it
        functions = len(functions_of(self.task)) if spec.startswith(LOCAL) else 1
        return open_policy(
            spec,
            self.folder,
            seats=Seats(slots=slots, functions=functions, context=self.config.context, threads=threads),
            offline=self.config.offline,
            progress=progress,
            providers=self.config.providers,
            home=self.home,
        )

    def open_student(self, gguf: Path, name: str, threads: int | None = None) -> LocalModel:
        """A student of this project, or its base, on llama.cpp.

        Args:
            threads: default: the project's.
        """
        from prentice.models.local import LocalModel

        return LocalModel(
            gguf,
            name=name,
            functions=len(functions_of(self.task)),
            context=self.config.context,
            threads=threads or self.config.threads,
        )

    def identity(self, spec: str) -> str:
        """Who answers: the spec, or for a recording the hash of its files, since others may be put in their place.

        A policy of the task goes by its full name, which says how it is set up.
        """
        if spec.startswith(TASK):
            return self.open_policy(spec).name
        if not spec.startswith(RECORDED):
            place = settings_for(spec, self.config.providers).base_url
            return f"{spec} at {place}" if place else spec
        return digest([sha256_of(file) for file in recording_files(spec, self.folder)])

    @property
    def held_out_rules(self) -> RolloutConfig:
        """How students play held-out cases: as the teacher played, one try of each, at the report's temperature."""
        rules = self.config.rollout.model_copy(update={"tries": 1, "cases": 0, "concurrency": None})
        heat = self.config.evaluate.temperature
        return rules if heat is None else rules.model_copy(update={"temperature": heat})

    def of_student(self, base: str) -> Project:
        """The same project with another student."""
        student = self.config.student.model_copy(update={"base": base})
        config = self.config.model_copy(update={"student": student, "students": ()})
        return Project(self.file, home=self.home, config=config)

    def of_function(self, function: str) -> Project:
        """The same project with a student of one function, which learns from that function's replies alone."""
        kept = self.config.curate.keep_turns
        only = f"function == {function!r}"
        curate = self.config.curate.model_copy(update={"keep_turns": f"({kept}) and {only}" if kept else only})
        config = self.config.model_copy(update={"curate": curate, "students": ()})
        return Project(self.file, home=self.home, config=config)

    @property
    def base(self) -> str:
        """The student's base: a name of the catalogue, or a path, taken from the project's folder."""
        name = self.config.student.base
        beside = self.folder / name
        return str(beside) if (beside / "config.json").is_file() else name
