//! L-BFGS with a strong-Wolfe line search (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithms 7.4, 7.5, 3.5 and
//! 3.6): the minimum of a smooth function of very many variables, from its values and gradients alone.

use crate::Result;
use std::collections::VecDeque;

/// Steps that the model of the curvature remembers, as many as `SciPy`'s solver.
const MEMORY: usize = 10;
/// A step must gain this part of what the slope promised,
const ENOUGH: f64 = 1e-4;
/// and leave at most this part of the slope.
const CURVATURE: f64 = 0.9;
/// Values that one line search may ask for.
const TRIES: usize = 50;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// At a gradient none of whose elements is larger.
    pub gradient: f64,
    /// At a step that lowers the value by no more, relative to the larger of the values and 1.
    pub reduction: f64,
    /// After so many steps.
    pub max_iter: usize,
}

/// Where the search ended.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// The variables.
    pub x: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// Steps taken.
    pub iterations: usize,
    /// Whether it stopped for the gradient or the reduction; else the steps were used up, or none lowers the value.
    pub converged: bool,
}

/// A function: its value at a point, whose gradient it writes.
pub type Function<'a> = dyn FnMut(&[f64], &mut [f64]) -> Result<f64> + 'a;

/// Minimises `function` from `x`.
/// # Errors
/// Those of `function`.
pub fn minimise(x: Vec<f64>, function: &mut Function<'_>, stop: &Stop) -> Result<Minimum> {
    let mut gradient = vec![0.0; x.len()];
    let value = function(&x, &mut gradient)?;
    let mut here = Point { x, value, gradient };
    let mut memory: VecDeque<Pair> = VecDeque::new();
    let mut iterations = 0;
    let mut converged = here.largest() <= stop.gradient;
    while !converged && iterations < stop.max_iter {
        let direction = downhill(&memory, &here.gradient);
        let slope = dot(&direction, &here.gradient);
        let first = if memory.is_empty() { 1.0 / dot(&direction, &direction).sqrt() } else { 1.0 };
        let found =
            if slope < 0.0 { search(&here, &direction, slope, first, function)? } else { None };
        let Some(next) = found else {
            if memory.is_empty() {
                break; // not even the gradient leads down: rounding is all that is left
            }
            memory.clear();
            continue;
        };
        iterations += 1;
        let largest = here.value.abs().max(next.value.abs()).max(1.0);
        converged =
            next.largest() <= stop.gradient || here.value - next.value <= stop.reduction * largest;
        let pair = Pair::new(&here, &next);
        if pair.curvature > f64::EPSILON * dot(&pair.change, &pair.change) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(pair);
        }
        here = next;
    }
    Ok(Minimum { x: here.x, value: here.value, iterations, converged })
}

/// A point, and the function there.
struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Point {
    fn largest(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, d| d.abs().max(largest))
    }
}

/// A step, and how it changed the gradient.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// step · change
    curvature: f64,
}

impl Pair {
    fn new(from: &Point, to: &Point) -> Self {
        let less = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let (step, change) = (less(&to.x, &from.x), less(&to.gradient, &from.gradient));
        Self { curvature: dot(&step, &change), step, change }
    }
}

/// Minus the gradient times the inverse curvature that the pairs tell of (algorithm 7.4).
fn downhill(memory: &VecDeque<Pair>, gradient: &[f64]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|d| -d).collect();
    let mut along = Vec::new();
    for pair in memory.iter().rev() {
        let a = dot(&pair.step, &direction) / pair.curvature;
        add(&mut direction, -a, &pair.change);
        along.push(a);
    }
    if let Some(last) = memory.back() {
        let scale = last.curvature / dot(&last.change, &last.change);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for (pair, a) in memory.iter().zip(along.iter().rev()) {
        let b = dot(&pair.change, &direction) / pair.curvature;
        add(&mut direction, a - b, &pair.step);
    }
    direction
}

/// A place on the line of a search.
#[derive(Clone, Copy)]
struct Place {
    step: f64,
    value: f64,
    slope: f64,
}

/// A point along `direction` that satisfies the strong Wolfe conditions, or none within [`TRIES`] (algorithms 3.5 and 3.6).
fn search(
    from: &Point,
    direction: &[f64],
    slope: f64,
    first: f64,
    function: &mut Function<'_>,
) -> Result<Option<Point>> {
    let start = Place { step: 0.0, value: from.value, slope };
    // Between two values that differ by rounding alone nobody can say which is lower.
    let noise = 4.0 * f64::EPSILON * from.value.abs();
    // The lower end of what holds a good step, and the other once there is one.
    let (mut low, mut high): (Place, Option<Place>) = (start, None);
    let mut step = first;
    for _ in 0..TRIES {
        let mut x = from.x.clone();
        add(&mut x, step, direction);
        let mut gradient = vec![0.0; x.len()];
        let value = function(&x, &mut gradient)?;
        let here = Place { step, value, slope: dot(&gradient, direction) };
        let gains = value <= start.value + ENOUGH * step * slope + noise; // false for NaN
        if !gains || (value >= low.value + noise && low.step > 0.0) {
            high = Some(here);
        } else if here.slope.abs() <= -CURVATURE * slope {
            return Ok(Some(Point { x, value, gradient }));
        } else {
            if here.slope * (high.map_or(f64::INFINITY, |high| high.step) - low.step) >= 0.0 {
                high = Some(low);
            }
            low = here;
        }
        step = match high {
            None => 2.0 * step,
            Some(high) => between(low, high),
        };
        if high.is_some_and(|high| (high.step - low.step).abs() <= f64::EPSILON * low.step) {
            break;
        }
    }
    Ok(None)
}

/// The minimum of the cubic through both ends (equation 3.59), kept off the ends by a tenth.
fn between(low: Place, high: Place) -> f64 {
    let length = high.step - low.step;
    let d1 = low.slope + high.slope - 3.0 * (high.value - low.value) / length;
    let d2 = length.signum() * (d1 * d1 - low.slope * high.slope).sqrt();
    let part = 1.0 - (high.slope + d2 - d1) / (high.slope - low.slope + 2.0 * d2);
    low.step + length * if part.is_finite() { part.clamp(0.1, 0.9) } else { 0.5 }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums that go side by side; their order is this code's, not the machine's.
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.0.iter().zip(b8.0) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let tail: f64 = a8.1.iter().zip(b8.1).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + tail
}

fn add(y: &mut [f64], scale: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    const STOP: Stop = Stop { gradient: 1e-9, reduction: 0.0, max_iter: 200 };

    /// Rosenbrock's valley in pairs of variables; its one minimum of 0 is at (1, 1, ...).
    fn valley(x: &[f64], gradient: &mut [f64]) -> f64 {
        let mut value = 0.0;
        for (x, d) in x.chunks_exact(2).zip(gradient.chunks_exact_mut(2)) {
            let (along, across) = (1.0 - x[0], x[1] - x[0] * x[0]);
            value += along * along + 100.0 * across * across;
            d[0] = -2.0 * along - 400.0 * x[0] * across;
            d[1] = 200.0 * across;
        }
        value
    }

    #[test]
    fn a_bent_valley_is_followed_to_its_end() {
        let start = vec![-1.2, 1.0, 3.0, -2.0, 0.0, 0.0, -5.0, 5.0];
        let found = minimise(start, &mut |x, d| Ok(valley(x, d)), &STOP).unwrap();
        // SciPy 1.17's L-BFGS-B with as many pairs takes 207 steps from here to this gradient, ours 189.
        assert!(found.converged && found.iterations < 207, "{}", found.iterations);
        assert!(found.x.iter().all(|x| (x - 1.0).abs() < 1e-7), "{:?}", found.x);
    }

    #[test]
    fn a_quadratic_of_any_scale_is_solved() {
        for scale in [1e-8, 1.0, 1e8] {
            let mut function = |x: &[f64], d: &mut [f64]| {
                let weight = |i: usize| scale * (i + 1) as f64;
                d.iter_mut().enumerate().for_each(|(i, d)| *d = weight(i) * (x[i] - 3.0));
                Ok((0..x.len()).map(|i| weight(i) * (x[i] - 3.0).powi(2) / 2.0).sum())
            };
            let stop = Stop { gradient: 1e-9 * scale, ..STOP };
            let found = minimise(vec![0.0; 20], &mut function, &stop).unwrap();
            assert!(found.converged && found.x.iter().all(|x| (x - 3.0).abs() < 1e-7));
        }
    }

    #[test]
    fn steps_are_counted_and_errors_end_it() {
        let stop = Stop { max_iter: 3, ..STOP };
        let found = minimise(vec![-1.2, 1.0], &mut |x, d| Ok(valley(x, d)), &stop).unwrap();
        assert!(!found.converged && found.iterations == 3);
        let mut calls = 0;
        let mut function = |x: &[f64], d: &mut [f64]| {
            calls += 1;
            if calls > 5 { Err(Error::Cancelled) } else { Ok(valley(x, d)) }
        };
        assert_eq!(minimise(vec![-1.2, 1.0], &mut function, &STOP).unwrap_err(), Error::Cancelled);
    }

    #[test]
    fn what_has_no_lower_point_ends() {
        // Its gradient says otherwise than its values.
        let mut function = |x: &[f64], d: &mut [f64]| {
            d.fill(1.0);
            Ok(-x[0])
        };
        let found = minimise(vec![0.0], &mut function, &STOP).unwrap();
        assert!(!found.converged && found.iterations == 0 && found.x == [0.0]);
    }
}
