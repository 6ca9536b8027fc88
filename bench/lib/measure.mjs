/** How the benches that have a peer measure: both sides in turn, medians, and the spread of neighbouring runs. */

/** A function that runs `work` and says how long it took, ms. */
export function timed(work) {
  return async () => {
    const start = performance.now()
    await work()
    return performance.now() - start
  }
}

/**
 * Runs both in turn, each first in every second round, after a warm-up of both; each gives its own time, ms.
 * `spread` is the middle half of the rounds' ratios over their median.
 */
export async function alternate(us, them, rounds) {
  await us()
  await them()
  const [ours, theirs] = [[], []]
  for (let round = 0; round < rounds; round++) {
    for (const first of round % 2 ? [1, 0] : [0, 1]) (first ? theirs : ours).push(await (first ? them() : us()))
  }
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
