/** A bundle of templates over the class names of a data set: what `zero-shot`, `eval` and `publish` make of --templates. */
import type { Bytes } from 'cocoop/node'
import type { Context } from './command.ts'
import type { Bench } from './measure.ts'
import { bundleName } from './runs/options.ts'
import { type Classes, selectClasses } from './select.ts'
import { readTemplates } from './templates.ts'
import { zeroShotBundle } from './text-features.ts'

/**
 * The bytes of the bundle; its text features are kept in the cache.
 * @throws of `readTemplates`; CocoopError `bad_text`, `text_too_long`
 */
export async function templateBundle(
  { dataset, id, model, cache }: Bench,
  { templates, classes, name }: { templates: readonly string[]; classes: Classes; name?: string | undefined },
  context: Pick<Context, 'terminal' | 'signal'>,
): Promise<Bytes> {
  const spec = {
    classnames: await selectClasses(dataset, classes),
    templates: await readTemplates(templates),
    metadata: {
      name: bundleName(name ?? `${dataset.name}-zero-shot`),
      model_id: id,
      training: { dataset: dataset.name, classes },
      metrics: {},
    },
  }
  return await zeroShotBundle({ model, cache }, spec, context)
}
