"""What the answers of a blind study say: who is preferred, how sure that is, and how far raters agree."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revisage.core import ConfigError, InputError, parse_json
from revisage.evaluation.study import StudyKey

__all__ = ["Answers", "Preference", "StudyScore", "agreement", "load_answers", "score_study", "wilson"]

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """One answer of one rater."""

    model_config = _STRICT

    trial: str
    answer: Literal["left", "right", "equal"]
    seconds: float = Field(ge=0)


class Answers(BaseModel):
    """The results file of one rater."""

    model_config = _STRICT

    study: str
    rater: str = Field(min_length=1)
    began: str = ""
    answers: list[Answer] = Field(min_length=1)


class Preference(BaseModel):
    """One method against another, over all raters and items.

    Attributes:
        one, other: the methods.
        wins, losses, ties: answers for ``one``, for ``other``, and that said equal.
        share: wins / (wins + losses); None where all are ties. Ties do not count: they say nothing about the sign.
        low, high: Wilson's interval of the share.
        p: two-sided exact sign test of share = 1/2.
        items: for each item (wins, losses, ties).
    """

    model_config = _STRICT

    one: str
    other: str
    wins: int
    losses: int
    ties: int
    share: float | None
    low: float | None
    high: float | None
    p: float | None
    items: dict[str, tuple[int, int, int]]


class StudyScore(BaseModel):
    """The result of a study.

    Attributes:
        study: its identity.
        raters: answers of each.
        confidence: of the intervals.
        preferences: one for each pair of methods.
        agreement: share of pairs of raters that gave the same answer to the same trial; None with one rater.
        alpha: Krippendorff's alpha for names (1 agree always, 0 as by chance); None where it is not defined.
        left_share: share of the left among answers that were not equal; far from 1/2 it shows a habit.
    """

    model_config = _STRICT

    study: str
    raters: dict[str, int]
    confidence: float
    preferences: list[Preference]
    agreement: float | None
    alpha: float | None
    left_share: float | None


def load_answers(path: Path) -> list[Answers]:
    """The answers in a results file, JSON or CSV; a CSV may hold several raters'.

    Raises:
        InputError: it is missing or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    try:
        if path.suffix.lower() == ".csv":
            return _from_csv(text)
        return [Answers.model_validate(parse_json(text))]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no results of a study: {_problem(error)}") from None


def _from_csv(text: str) -> list[Answers]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows:
        raise ValueError("there is no answer in it")
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        answer = {"trial": row["trial"], "answer": row["answer"], "seconds": float(row["seconds"])}
        found.setdefault((row["study"], row["rater"]), []).append(answer)
    return [
        Answers.model_validate({"study": study, "rater": rater, "answers": answers})
        for (study, rater), answers in found.items()
    ]


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    if isinstance(error, KeyError):
        return f"the column {error} is missing"
    return " ".join(str(error).split())


def score_study(key: StudyKey, results: Mapping[Path, Sequence[Answers]], *, confidence: float = 0.95) -> StudyScore:
    """Count the answers of all raters.

    Answers of one rater, or about one item, depend on each other; the intervals treat them as independent and so are
    too narrow when raters are few.

    Args:
        key: of the study.
        results: from :func:`load_answers`, by file.
        confidence: of the intervals.

    Raises:
        InputError: results of another study, an unknown trial, or two of the same rater.
        ConfigError: a confidence outside 0 to 1.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"--confidence cannot be {confidence:g}; it lies between 0 and 1")
    raters: dict[str, dict[str, str]] = {}
    for path, sheets in results.items():
        for sheet in sheets:
            _check(path, sheet, key, raters)
            raters[sheet.rater] = {answer.trial: answer.answer for answer in sheet.answers}
    sides = Counter(side for answers in raters.values() for side in answers.values())
    decided = sides["left"] + sides["right"]
    share, alpha = agreement([list(_chosen(key, answers).items()) for answers in raters.values()])
    return StudyScore(
        study=key.study,
        raters={name: len(answers) for name, answers in raters.items()},
        confidence=confidence,
        preferences=[
            _preference(key, pair, raters.values(), confidence) for pair in itertools.combinations(key.methods, 2)
        ],
        agreement=share,
        alpha=alpha,
        left_share=round(sides["left"] / decided, 4) if decided else None,
    )


def _check(path: Path, sheet: Answers, key: StudyKey, raters: Mapping[str, object]) -> None:
    if sheet.study != key.study:
        raise InputError(f"{path} belongs to another study ({sheet.study}); this key is of {key.study}")
    if sheet.rater in raters:
        raise InputError(f"{path}: there are two results of '{sheet.rater}'; leave one out, or rename the rater")
    known = {trial.id for trial in key.trials}
    seen: set[str] = set()
    for answer in sheet.answers:
        if answer.trial not in known:
            raise InputError(f"{path}: the study has no trial '{answer.trial}'")
        if answer.trial in seen:
            raise InputError(f"{path}: trial '{answer.trial}' is answered twice")
        seen.add(answer.trial)


def _chosen(key: StudyKey, answers: Mapping[str, str]) -> dict[str, str]:
    """For each answered trial the method that was chosen; empty for equal."""
    trials = {trial.id: trial for trial in key.trials}
    return {
        name: "" if answer == "equal" else trials[name].left if answer == "left" else trials[name].right
        for name, answer in answers.items()
    }


def _preference(
    key: StudyKey, pair: tuple[str, str], raters: Iterable[Mapping[str, str]], confidence: float
) -> Preference:
    items = {trial.id: trial.item for trial in key.trials if {trial.left, trial.right} == set(pair)}
    counts: dict[str, list[int]] = {item: [0, 0, 0] for item in items.values()}
    for answers in raters:
        for trial, method in _chosen(key, answers).items():
            if trial in items:
                counts[items[trial]][(*pair, "").index(method)] += 1
    wins, losses, ties = (sum(count[place] for count in counts.values()) for place in range(3))
    decided = wins + losses
    low, high = wilson(wins, decided, confidence) if decided else (None, None)
    return Preference(
        one=pair[0],
        other=pair[1],
        wins=wins,
        losses=losses,
        ties=ties,
        share=round(wins / decided, 4) if decided else None,
        low=None if low is None else round(low, 4),
        high=None if high is None else round(high, 4),
        p=round(_sign_test(wins, losses), 6) if decided else None,
        items={item: (count[0], count[1], count[2]) for item, count in sorted(counts.items())},
    )


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson, 1927), which keeps within 0 and 1 and holds for few trials.

    Raises:
        ValueError: no trial, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no share")
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == trials else middle + half)


def _sign_test(wins: int, losses: int) -> float:
    """Probability of a split at least this uneven where both are as likely."""
    total, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(total, count) for count in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)


def agreement(raters: Sequence[Sequence[tuple[str, str]]]) -> tuple[float | None, float | None]:
    """How often two raters say the same of one thing, and Krippendorff's alpha for names (2011).

    Args:
        raters: each one's (thing, answer) pairs; they need not have seen the same things.

    Returns:
        The share of agreeing pairs of raters, each thing weighted by its raters; and alpha.
        None where no thing has two answers; alpha also where all answers are the same one.
    """
    answers: dict[str, Counter[str]] = {}
    for given in raters:
        for thing, answer in given:
            answers.setdefault(thing, Counter())[answer] += 1
    shared = [counts for counts in answers.values() if sum(counts.values()) > 1]
    if not shared:
        return None, None
    total = sum(sum(counts.values()) for counts in shared)
    apart = sum(
        sum(n * (sum(counts.values()) - n) for n in counts.values()) / (sum(counts.values()) - 1) for counts in shared
    )
    overall = sum(shared, Counter())
    by_chance = sum(n * (total - n) for n in overall.values()) / (total - 1)
    alpha = None if by_chance == 0 else round(1 - apart / by_chance, 4)
    return round(1 - apart / total, 4), alpha
