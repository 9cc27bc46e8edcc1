from .evaluator import evaluate_sides
from .html_page import comparison_page
from .results import (
    AREAS,
    EvaluateSettings,
    Evaluation,
    FileEvaluation,
    Score,
    Side,
    averaged,
    csv_text,
    make_settings,
    methods_of,
    name_methods,
    rows,
    score_text,
)
from .study import QUESTION, key_path, load_key, make_study
from .study_score import Preference, StudyScore, load_answers, score_study

__all__ = [
    "AREAS",
    "QUESTION",
    "EvaluateSettings",
    "Evaluation",
    "FileEvaluation",
    "Preference",
    "Score",
    "Side",
    "StudyScore",
    "averaged",
    "comparison_page",
    "csv_text",
    "evaluate_sides",
    "key_path",
    "load_answers",
    "load_key",
    "make_settings",
    "make_study",
    "methods_of",
    "name_methods",
    "rows",
    "score_study",
    "score_text",
]
