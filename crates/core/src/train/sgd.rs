//! Stochastic gradient descent with momentum and weight decay as PyTorch has it (no dampening, no Nesterov): the
//! optimiser of CoOp and CoCoOp, whose defaults (0.9, 5e-4) come from Dassl.

use crate::prompt::learner::Learner;

/// The optimiser's state.
pub struct Sgd {
    /// What each parameter moves by; shaped as the parameters.
    pub velocity: Learner,
    momentum: f32,
    weight_decay: f32,
}

impl Sgd {
    /// An optimiser at rest.
    pub fn new(learner: &Learner, momentum: f32, weight_decay: f32) -> Self {
        Self { velocity: learner.zeros(), momentum, weight_decay }
    }

    /// v = momentum·v + gradient + `weight_decay`·p; p -= `lr`·v.
    pub fn step(&mut self, learner: &mut Learner, gradient: &Learner, lr: f64) {
        let lr = lr as f32;
        let parameters = learner.tensors_mut().into_iter().zip(self.velocity.tensors_mut());
        for ((values, velocity), (.., gradient)) in parameters.zip(gradient.tensors()) {
            for ((p, v), g) in values.iter_mut().zip(velocity.iter_mut()).zip(gradient) {
                *v = self.momentum * *v + (g + self.weight_decay * *p);
                *p -= lr * *v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let mut p = Learner::new(vec![1.0], 1, 1, false, None);
        let gradient = Learner { ctx: vec![0.5], ..p.clone() };
        let mut sgd = Sgd::new(&p, 0.9, 0.1);
        sgd.step(&mut p, &gradient, 0.1); // v = 0.6
        assert!((p.ctx[0] - 0.94).abs() < 1e-6);
        sgd.step(&mut p, &gradient, 0.1); // v = 0.54 + 0.5 + 0.094 = 1.134
        assert!((p.ctx[0] - 0.8266).abs() < 1e-6);
    }
}
