"""A scikit-learn pipeline. The import below is what makes this a job of the scikit-learn engine."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def build_model(C: float = 1.0) -> Pipeline:  # noqa: N803  (scikit-learn's own name)
    """Standardised columns into a logistic regression; a smaller ``C`` regularises more."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
