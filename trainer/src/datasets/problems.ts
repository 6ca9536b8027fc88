/** What would spoil a training or a measurement. `dataset show` looks at every image for it; what runs before a training looks at what is cheap. */
import { type Dataset, everyItem, SPLITS, type Split } from './dataset.ts'

const EXAMPLES = 5

export interface ClassCount extends Record<Split, number> {
  label: number
  classname: string
}

export interface Problem {
  kind:
    | 'unreadable'
    | 'train_test_duplicates'
    | 'other_class_duplicates'
    | 'one_image'
    | 'no_train_images'
    | 'no_val_images'
    | 'no_test_images'
    | 'equal_names'
    | 'long_names'
  message: string
  count: number
  /** The first few of them: paths or class names. */
  examples: string[]
}

/** How long a prompt may get, and how many tokens a text has. */
export interface PromptLength {
  n_ctx: number
  context_length: number
  tokens: (text: string) => number
}

/** A problem in one line. */
export function describe({ message, count, examples }: Problem): string {
  return `${message}: ${count} (${examples.join('; ')}${count > examples.length ? '; ...' : ''})`
}

/** A problem, if something was found. */
export function problem(kind: Problem['kind'], message: string, found: readonly string[]): Problem[] {
  return found.length === 0 ? [] : [{ kind, message, count: found.length, examples: found.slice(0, EXAMPLES) }]
}

/** Images per class and split. */
export function countClasses(dataset: Dataset): ClassCount[] {
  const classes = dataset.classnames.map((classname, label) => ({ label, classname, train: 0, val: 0, test: 0 }))
  for (const { split, item } of everyItem(dataset)) {
    const row = classes[item.label]
    if (row !== undefined) row[split] += 1
  }
  return classes
}

export function unreadable(messages: readonly string[]): Problem[] {
  return problem('unreadable', 'images that cannot be read', messages)
}

/**
 * The same bytes in train and in test make a test result worthless; under two classes they make one of them wrong.
 * @param groups images of the same content
 */
export function duplicates(
  groups: readonly { split: Split; item: { path: string; classname: string } }[][],
): Problem[] {
  const same = groups.filter(({ length }) => length > 1)
  const leaks = same.filter(
    (group) => group.some(({ split }) => split === 'train') && group.some(({ split }) => split === 'test'),
  )
  const torn = same.filter((group) => new Set(group.map(({ item }) => item.classname)).size > 1)
  const show = (group: (typeof groups)[number]) =>
    group.map(({ item: { path, classname } }) => `${path} (${classname})`).join(' = ')
  return [
    ...problem('train_test_duplicates', 'images in both train and test', leaks.map(show)),
    ...problem('other_class_duplicates', 'images in more than one class', torn.map(show)),
  ]
}

/** Classes with a single image, or with none in a split that has images. */
export function thinClasses(dataset: Dataset, classes: readonly ClassCount[]): Problem[] {
  const without = (split: Split, name: string) => {
    const found = classes.filter((one) => dataset[split].length > 0 && one[split] === 0)
    return problem(
      `no_${split}_images`,
      `classes without ${name} images`,
      found.map(({ classname }) => classname),
    )
  }
  const single = classes.filter((one) => SPLITS.reduce((sum, split) => sum + one[split], 0) === 1)
  return [
    ...problem(
      'one_image',
      'classes with a single image',
      single.map(({ classname }) => classname),
    ),
    ...without('train', 'training'),
    ...without('val', 'validation'),
    ...without('test', 'test'),
  ]
}

/** Classes that a prompt cannot tell apart: their scores are the same, and the first of them always wins. */
export function equalNames(classnames: readonly string[]): Problem[] {
  const labels = classnames.map((classname, label) => ({ classname, label }))
  const groups = Map.groupBy(labels, ({ classname }) => asText(classname).toLowerCase().replace(/\s+/g, ' '))
  const same = [...groups.values()].filter(({ length }) => length > 1)
  const show = (group: typeof labels) => group.map(({ classname, label }) => `"${classname}" (${label})`).join(' = ')
  return problem('equal_names', 'class names that are the same to a prompt', same.map(show))
}

/** Classes whose prompt, start, context, name, full stop and end, has more tokens than the model reads. */
export function longNames(classnames: readonly string[], { n_ctx, context_length, tokens }: PromptLength): Problem[] {
  const lengths = classnames.map((classname) => ({ classname, length: n_ctx + tokens(`${asText(classname)}.`) + 2 }))
  const long = lengths.filter(({ length }) => length > context_length)
  return problem(
    'long_names',
    `class names whose prompt is longer than ${context_length} tokens with ${n_ctx} of context`,
    long.map(({ classname, length }) => `"${classname}" (${length})`),
  )
}

/** As a prompt has it. */
function asText(classname: string): string {
  return classname.replaceAll('_', ' ').trim()
}
