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
    /// # Errors
    /// The name of a tensor that would hold NaN or infinity (as it would if the gradient did): then nothing has changed.
    pub fn step(
        &mut self,
        learner: &mut Learner,
        gradient: &Learner,
        lr: f64,
    ) -> Result<(), &'static str> {
        let (lr, momentum, weight_decay) = (lr as f32, self.momentum, self.weight_decay);
        let moved = |p: f32, v: f32, g: f32| {
            let v = momentum * v + (g + weight_decay * p);
            (p - lr * v, v)
        };
        let before = learner.tensors().into_iter().zip(self.velocity.tensors());
        for (((name, _, values), (.., velocity)), (.., gradient)) in before.zip(gradient.tensors())
        {
            let mut each = values.iter().zip(velocity).zip(gradient);
            // The velocity is finite where what it moves to is.
            if !each.all(|((p, v), g)| moved(*p, *v, *g).0.is_finite()) {
                return Err(name);
            }
        }
        let parameters = learner.tensors_mut().into_iter().zip(self.velocity.tensors_mut());
        for ((values, velocity), (.., gradient)) in parameters.zip(gradient.tensors()) {
            for ((p, v), g) in values.iter_mut().zip(velocity.iter_mut()).zip(gradient) {
                (*p, *v) = moved(*p, *v, *g);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::learner::MetaNet;

    #[test]
    fn two_steps_by_hand() {
        let mut p = Learner::new(vec![1.0], 1, 1, false, None);
        let gradient = Learner { ctx: vec![0.5], ..p.clone() };
        let mut sgd = Sgd::new(&p, 0.9, 0.1);
        sgd.step(&mut p, &gradient, 0.1).unwrap(); // v = 0.6
        assert!((p.ctx[0] - 0.94).abs() < 1e-6);
        sgd.step(&mut p, &gradient, 0.1).unwrap(); // v = 0.54 + 0.5 + 0.094 = 1.134
        assert!((p.ctx[0] - 0.8266).abs() < 1e-6);
    }

    #[test]
    fn a_step_to_infinity_is_not_made() {
        let net = || Some(MetaNet::random(4, 2, 3, 1));
        let mut p = Learner::new(vec![1.0; 3], 1, 3, false, net());
        let (before, mut sgd) = (p.clone(), Sgd::new(&p, 0.9, 0.1));
        for bad in [f32::NAN, f32::INFINITY, -3e38] {
            let mut gradient = Learner { ctx: vec![0.5; 3], meta_net: net(), ..p.clone() };
            *gradient.tensors_mut()[4].last_mut().unwrap() = bad;
            assert_eq!(sgd.step(&mut p, &gradient, 10.0), Err("meta_net.linear2.weight"));
            assert!(p == before && sgd.velocity == before.zeros());
        }
    }
}
