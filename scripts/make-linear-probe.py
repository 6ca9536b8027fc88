"""Writes fixtures/linear_probe.json: logistic regressions that scikit-learn solved.

Each problem has its features and labels, and a fit for every C: what `lbfgs` ends at with the defaults that CLIP's and CoOp's
linear probe use (tol 1e-4, max_iter 1000), and the minimum itself by `newton-cholesky`. `objective` is the mean loss with the
penalty divided by C·n.
Needs numpy and scikit-learn 1.6 or newer. Usage: python3 scripts/make-linear-probe.py
"""

import json
import pathlib
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

OVERLAPPING = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]


def problem(name, n_cls, shots, dim, spread, seed):
    """Gaussian clusters around random centres; features are multiples of 1/64, exact in every format."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_cls), shots)
    rng.shuffle(labels)
    centres = rng.normal(size=(n_cls, dim))
    features = centres[labels] + spread * rng.normal(size=(len(labels), dim))
    return name, np.round(features * 64) / 64, labels, n_cls


def objective(features, labels, c, weight, bias):
    logits = features @ weight.T + bias
    top = logits.max(1)
    losses = top + np.log(np.exp(logits - top[:, None]).sum(1)) - logits[np.arange(len(labels)), labels]
    return losses.mean() + (weight**2).sum() / (2 * c * len(labels))


def multinomial(features, labels, c, n_cls, **options):
    """Two classes are asked for at 2C, and shared evenly between them: scikit-learn has one weight for both."""
    halves = n_cls == 2
    model = LogisticRegression(C=2 * c if halves else c, **options).fit(features, labels)
    weight, bias = model.coef_, model.intercept_
    if halves:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias - bias.mean(), int(model.n_iter_.max())


def fits(name, features, labels, n_cls, strengths):
    made = []
    for c in strengths:
        weight, bias, steps = multinomial(features, labels, c, n_cls, max_iter=1000)
        fit = {"c": c, "objective": objective(features, labels, c, weight, bias), "iterations": steps}
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a minimum that was not reached is none
            weight, bias, _ = multinomial(features, labels, c, n_cls, solver="newton-cholesky", tol=1e-12, max_iter=200)
        minimum = objective(features, labels, c, weight, bias)
        fit["minimum"] = {"objective": minimum, "weight": weight.ravel().tolist(), "bias": bias.tolist()}
        made.append(fit)
    return {"name": name, "n_cls": n_cls, "features": features.ravel().tolist(), "labels": labels.tolist(), "fits": made}


problems = [
    (problem("separable", 5, 8, 16, 0.3, 1), [1e6, 1.0]),
    (problem("overlapping", 4, 25, 6, 1.5, 2), OVERLAPPING),
    (problem("two classes", 2, 30, 5, 1.5, 3), OVERLAPPING),
    (problem("wider than the images are many", 10, 4, 64, 2.0, 4), [316.0, 0.01]),
]
document = {"problems": [fits(*made, strengths) for made, strengths in problems]}
path = pathlib.Path(__file__).parent.parent / "fixtures" / "linear_probe.json"
path.write_text(json.dumps(document) + "\n")
