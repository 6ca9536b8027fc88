/** How the benches that have a peer measure: both sides in turn, medians, and the spread of neighbouring runs. */

/** A function that runs `work` and says how long it took, ms. */
export function timed(work) {
  return async () => {
    const start = performance.now()
    await work()
    return performance.now() - start
  }
}

/** Runs both in turn, each first in every second round, after a warm-up of both; each gives its own time, ms. As {@link compare}. */
export async function alternate(us, them, rounds) {
  const [ours, theirs] = await inTurn([us, them], rounds)
  return compare(ours, theirs)
}

/** Runs all in turn, forwards and backwards, after a warm-up of each: the times of each, ms. */
export async function inTurn(sides, rounds) {
  for (const side of sides) await side()
  const times = sides.map(() => [])
  for (let round = 0; round < rounds; round++) {
    const order = [...sides.keys()]
    for (const i of round % 2 ? order.reverse() : order) times[i].push(await sides[i]())
  }
  return times
}

/** The medians of two sides' times, their ratio, and the middle half of neighbouring runs' ratios over their median. */
export function compare(ours, theirs) {
  const at = (list, share) => [...list].sort((a, b) => a - b)[Math.floor((list.length - 1) * share)]
  const ratios = ours.map((time, i) => theirs[i] / time)
  const [our, their] = [at(ours, 0.5), at(theirs, 0.5)]
  return {
    ours: our,
    theirs: their,
    ratio: their / our,
    spread: (at(ratios, 0.75) - at(ratios, 0.25)) / at(ratios, 0.5),
  }
}

/** A CoCoOp bundle as training starts: how long a prompt takes does not depend on what was learned. */
export async function untrainedCoCoOp(model, classnames, picture, metadata) {
  const spec = {
    method: 'cocoop',
    classnames,
    n_ctx: 4,
    ctx_init: null,
    csc: false,
    class_token_position: 'end',
    epochs: 1,
    batch_size: 1,
    lr: 0.002,
    momentum: 0.9,
    weight_decay: 5e-4,
    warmup_epochs: 0,
    warmup_lr: 1e-5,
    augment: 'none',
    views: 0,
    meta_net_reduction: 16,
    seed: 1,
  }
  const trainer = await model.trainer(spec, [picture], Uint32Array.of(0))
  return await trainer.bundle(metadata)
}
