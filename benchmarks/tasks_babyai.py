"""Navigation measured: three levels learnt together, and one that is never trained on."""

from __future__ import annotations

from typing import Any

import tasks_students as students

Row = dict[str, Any]
LEVELS, UNSEEN = '["GoToObj", "GoToRedBall", "GoToLocal"]', "GoToDoor"
CASES = 200


def student_rows() -> list[Row]:
    """Success on held-out rooms of the three levels, and of the unseen one."""
    learnt = (f"task.level={LEVELS}", f"evaluate.cases={CASES}")
    seen = students.student_run("babyai", *learnt)
    unseen = students.student_run("babyai", *learnt, f"task.test_level={UNSEEN}")
    there, here = students.result(unseen, "student"), students.result(seen, "student")
    told = f"{UNSEEN}, learnt from rooms of GoToObj, GoToRedBall and GoToLocal"
    return [
        students.share("babyai_levels_success", here.success, here.n, "held-out rooms of the three levels"),
        students.share("babyai_unseen_level_success", there.success, there.n, told),
        *students.policy_rows("babyai", seen),
        *students.policy_rows("babyai_unseen", unseen),
    ]
