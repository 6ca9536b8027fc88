//! The linear probe, which needs no model.

use crate::job::{Job, run};
use crate::{Cancel, asks};
use cocoop_core::door;
use cocoop_core::train::linear_probe::LinearProbe;
use napi::bindgen_prelude::{AsyncTask, Float32Array, Uint32Array};
use napi_derive::napi;

/// A linear classifier, and how it was found.
#[napi(object)]
pub struct FittedProbe {
    /// (`n_cls`, dim)
    pub weight: Float32Array,
    /// (`n_cls`)
    pub bias: Float32Array,
    /// Mean loss with the penalty divided by C·n.
    pub objective: f64,
    /// Steps taken.
    pub iterations: u32,
    /// False if the steps were used up before the gradient was small.
    pub converged: bool,
}

/// Learns from features (n, dim) with labels (n): JSON {`n_cls`, c, `max_iter`}; from zero, or from a probe of that shape.
#[napi(ts_return_type = "Promise<FittedProbe>")]
pub fn fit_linear_probe(
    features: Float32Array,
    labels: Uint32Array,
    spec: String,
    start_weight: Option<Float32Array>,
    start_bias: Option<Float32Array>,
    cancel: Option<&Cancel>,
) -> AsyncTask<Job<FittedProbe>> {
    let (features, labels, cancelled) = (features.to_vec(), labels.to_vec(), asks(cancel));
    let start = start_weight
        .zip(start_bias)
        .map(|(weight, bias)| LinearProbe { weight: weight.to_vec(), bias: bias.to_vec() });
    run(move || {
        let fit = door::fit_linear_probe(&features, &labels, &spec, start.as_ref(), &cancelled)?;
        Ok(FittedProbe {
            weight: fit.probe.weight.into(),
            bias: fit.probe.bias.into(),
            objective: fit.objective,
            iterations: fit.iterations as u32,
            converged: fit.converged,
        })
    })
}

/// Probabilities (n, `n_cls`) of features (n, dim).
#[napi(ts_return_type = "Promise<Float32Array>")]
pub fn linear_probe_probs(
    features: Float32Array,
    weight: Float32Array,
    bias: Float32Array,
) -> AsyncTask<Job<Float32Array>> {
    let features = features.to_vec();
    let probe = LinearProbe { weight: weight.to_vec(), bias: bias.to_vec() };
    run(move || Ok(probe.probs(&features)?.into()))
}
