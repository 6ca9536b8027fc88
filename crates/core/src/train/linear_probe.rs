//! The linear probe: multinomial logistic regression on image features, with an L2 penalty on the weights and none on the
//! biases. Objective and stopping rule are those of scikit-learn's `LogisticRegression` (lbfgs), in f64. Two classes are no
//! special case: scikit-learn's binary regression at 2C is this one at C.

use super::lbfgs::{self, Stop};
use crate::kernels::double::{Matrix, add_product};
use crate::kernels::for_rows;
use crate::{Error, Result};

/// A largest element of the mean loss's gradient at which the search stops: scikit-learn's default.
pub const TOLERANCE: f64 = 1e-4;
/// Steps after which the search stops, as in the original's probe.
pub const MAX_ITER: usize = 1000;

/// Rows of which one task computes the probabilities.
const GRAIN: usize = 16;

/// What is to be learned.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// (n, dim)
    pub features: &'a [f32],
    /// (n), each below `n_cls`; every class has one at least.
    pub labels: &'a [usize],
    /// Classes, two at least.
    pub n_cls: usize,
    /// The inverse strength of the penalty: C·Σ log-loss + ½‖weight‖² is minimised.
    pub c: f64,
    /// A largest element of the gradient of that divided by C·n, [`TOLERANCE`].
    pub tolerance: f64,
    /// [`MAX_ITER`]
    pub max_iter: usize,
}

/// A linear classifier: logits are weight·features + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearProbe {
    /// (`n_cls`, dim)
    pub weight: Vec<f32>,
    /// (`n_cls`)
    pub bias: Vec<f32>,
}

/// What was learned.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The classifier.
    pub probe: LinearProbe,
    /// C·Σ log-loss + ½‖weight‖², divided by C·n.
    pub objective: f64,
    /// Steps taken.
    pub iterations: usize,
    /// False if the steps were used up, or rounding ended them, before the gradient was small.
    pub converged: bool,
}

/// Learns from zero, or from `start`. The result's bits do not depend on the number of threads.
/// # Errors
/// [`Error::Classes`] of fewer than two; [`Error::TooFewImages`] of a class without any, whose bias would fall for ever;
/// [`Error::Label`], [`Error::Shape`], [`Error::NotFinite`], [`Error::Option`]; [`Error::Cancelled`], asked before each
/// evaluation of the objective.
pub fn fit(
    problem: &Problem<'_>,
    start: Option<&LinearProbe>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Fit> {
    let dim = check(problem)?;
    let n_cls = problem.n_cls;
    let start = match start {
        Some(start) => to_columns(start, n_cls, dim)?,
        None => vec![0.0; (dim + 1) * n_cls],
    };
    let mut errors = Vec::new();
    let mut function = |x: &[f64], gradient: &mut [f64]| {
        if cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(objective(problem, x, gradient, &mut errors))
        }
    };
    // What scikit-learn hands to SciPy's solver.
    let stop = Stop {
        gradient: problem.tolerance,
        reduction: 64.0 * f64::EPSILON,
        max_iter: problem.max_iter,
    };
    let found = lbfgs::minimise(start, &mut function, &stop)?;
    let probe = to_rows(&found.x, n_cls);
    let lbfgs::Minimum { value, iterations, converged, .. } = found;
    Ok(Fit { probe, objective: value, iterations, converged })
}

impl LinearProbe {
    /// softmax(weight·features + bias): (n, `n_cls`) of `features` (n, dim).
    /// # Errors
    /// [`Error::Shape`] if these are no whole features, or the weights none of so many classes.
    pub fn probs(&self, features: &[f32]) -> Result<Vec<f32>> {
        let n_cls = self.bias.len();
        let dim = self.weight.len() / n_cls.max(1);
        check_shape("weight", self.weight.len(), &[n_cls.max(1), dim.max(1)])?;
        check_shape("features", features.len(), &[features.len() / dim, dim])?;
        let columns = to_columns(self, n_cls, dim)?;
        let mut logits = Vec::new();
        logits_of(&mut logits, features, dim, &columns, n_cls);
        for_rows(&mut logits, n_cls, GRAIN, |_, rows| {
            rows.chunks_exact_mut(n_cls).for_each(|row| {
                softmax(row);
            });
        });
        Ok(logits.iter().map(|p| *p as f32).collect())
    }
}

/// Checks a problem; gives the features' width.
fn check(problem: &Problem<'_>) -> Result<usize> {
    let Problem { features, labels, n_cls, c, tolerance, max_iter } = *problem;
    if n_cls < 2 {
        return Err(Error::Classes {
            why: format!("a probe tells two at least apart, got {n_cls}"),
        });
    }
    let mut images = vec![0; n_cls];
    for &label in labels {
        *images.get_mut(label).ok_or(Error::Label { label, n_cls })? += 1;
    }
    if let Some(class) = images.iter().position(|images| *images == 0) {
        return Err(Error::TooFewImages { class: format!("#{class}"), got: 0, expected: 1 });
    }
    let dim = features.len() / labels.len();
    check_shape("features", features.len(), &[labels.len(), dim.max(1)])?;
    if !features.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { name: "features".into() });
    }
    let positive = |name: &str, value: f64| match value {
        _ if value > 0.0 && value.is_finite() => Ok(()),
        _ => Err(Error::Option {
            name: name.into(),
            expected: "a number above 0".into(),
            got: value.to_string(),
        }),
    };
    positive("c", c)?;
    positive("tolerance", tolerance)?;
    positive("max_iter", max_iter as f64)?;
    Ok(dim)
}

fn check_shape(name: &str, len: usize, expected: &[usize; 2]) -> Result<()> {
    if len == expected[0] * expected[1] {
        return Ok(());
    }
    Err(Error::Shape { name: name.into(), expected: expected.to_vec(), got: vec![len] })
}

/// The objective divided by C·n, and its gradient, at `x` (dim + 1, `n_cls`): the weights, a row for each feature, and
/// below them the biases. `errors` is room for (n, `n_cls`).
fn objective(problem: &Problem<'_>, x: &[f64], gradient: &mut [f64], errors: &mut Vec<f64>) -> f64 {
    let Problem { features, labels, n_cls, c, .. } = *problem;
    let (n, dim) = (labels.len(), x.len() / n_cls - 1);
    logits_of(errors, features, dim, x, n_cls);
    for_rows(errors, n_cls, GRAIN, |first, rows| {
        for (row, &label) in rows.chunks_exact_mut(n_cls).zip(&labels[first..]) {
            let z_label = row[label];
            row[label] = softmax(row) - z_label; // the loss stands where its probability would
        }
    });
    let mut loss = 0.0;
    for (row, &label) in errors.chunks_exact_mut(n_cls).zip(labels) {
        loss += row[label];
        row[label] = (-row[label]).exp_m1(); // probability - 1, with all its digits
    }
    let (weight, _) = x.split_at(dim * n_cls);
    gradient.fill(0.0);
    let (dweight, dbias) = gradient.split_at_mut(dim * n_cls);
    dweight.iter_mut().zip(weight).for_each(|(d, w)| *d = w / c);
    add_product(dweight, n_cls, Matrix { data: features, row: 1, col: dim }, errors);
    for row in errors.chunks_exact(n_cls) {
        dbias.iter_mut().zip(row).for_each(|(d, error)| *d += error);
    }
    gradient.iter_mut().for_each(|d| *d /= n as f64);
    (loss + weight.iter().map(|w| w * w).sum::<f64>() / (2.0 * c)) / n as f64
}

/// `logits` (n, `n_cls`) of `features` (n, dim) at `x` (dim + 1, `n_cls`).
fn logits_of(logits: &mut Vec<f64>, features: &[f32], dim: usize, x: &[f64], n_cls: usize) {
    let (weight, bias) = x.split_at(dim * n_cls);
    logits.clear();
    (0..features.len() / dim).for_each(|_| logits.extend_from_slice(bias));
    add_product(logits, n_cls, Matrix { data: features, row: dim, col: 1 }, weight);
}

/// Turns logits into probabilities; gives ln Σ e^logit.
fn softmax(row: &mut [f64]) -> f64 {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|z| *z = (*z - max).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
    max + sum.ln()
}

/// (dim + 1, `n_cls`) of a probe.
fn to_columns(probe: &LinearProbe, n_cls: usize, dim: usize) -> Result<Vec<f64>> {
    check_shape("weight", probe.weight.len(), &[n_cls, dim])?;
    check_shape("bias", probe.bias.len(), &[n_cls, 1])?;
    let mut x = vec![0.0; (dim + 1) * n_cls];
    for (class, (weight, bias)) in probe.weight.chunks_exact(dim).zip(&probe.bias).enumerate() {
        let to = x[class..].iter_mut().step_by(n_cls);
        to.zip(weight.iter().chain([bias])).for_each(|(to, from)| *to = f64::from(*from));
    }
    if x.iter().all(|x| x.is_finite()) {
        Ok(x)
    } else {
        Err(Error::NotFinite { name: "weight".into() })
    }
}

/// The probe of (dim + 1, `n_cls`).
fn to_rows(x: &[f64], n_cls: usize) -> LinearProbe {
    let (weight, bias) = x.split_at(x.len() - n_cls);
    let rows = |class| weight[class..].iter().step_by(n_cls).map(|w| *w as f32);
    LinearProbe {
        weight: (0..n_cls).flat_map(rows).collect(),
        bias: bias.iter().map(|b| *b as f32).collect(),
    }
}
