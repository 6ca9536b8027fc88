/** The report of one run: what it was, how it learned, and for each of its tests what it gets right, what not, and how sure it is. */
import { calibration } from '../metrics.ts'
import { formatDuration } from '../progress.ts'
import type { Prediction } from '../runs/test.ts'
import { barPlot, lossPlot, ratePlot, reliabilityPlot, trainingPlot } from './charts.ts'
import { Confusion, type Pair } from './confusion.ts'
import { type Content, details, type Html, html, table } from './html.ts'
import { harmonicInterval, type Interval, wilson } from './intervals.ts'
import { matrix } from './matrix.ts'
import { page } from './page.ts'
import { Pictures, type Source } from './pictures.ts'
import { figure, type Plot } from './plot.ts'
import type { Run, Test } from './read-run.ts'
import { METHODS, percent, range, testName } from './words.ts'

/** Classes up to which the whole matrix is drawn, and how many of the most confused are where there are more. */
const [WHOLE, BLOCK] = [200, 60]
const [PAIRS, MISTAKEN, RIGHT, WORST] = [6, 4, 2, 21]
/** What all pictures of a page may take. */
const PICTURE_BYTES = 2_200_000

/** The figures of a test as --json prints them. */
export interface TestFigures {
  data: string
  classes: string
  n_cls: number
  total: number
  correct: number
  accuracy: Interval
  macro_f1: number
  ece: number
  most_confused: { classname: string; predicted: string; count: number; back: number; total: number }[]
  worst: { path: string; classname: string; predicted: string; prob: number; prob_label: number }[]
}

export interface RunFigures {
  run: string
  method: string
  data: string
  finished: boolean
  tests: TestFigures[]
  /** For each data set that was tested on base and on new classes. */
  h: { data: string; h: Interval }[]
}

/** The page of a run, and its figures. */
export async function runPage(run: Run): Promise<{ html: string; figures: RunFigures; notes: string[] }> {
  const figures = runFigures(run)
  const pictures = new Pictures()
  const { epochs } = run.curves
  const title = `${METHODS[run.method] ?? run.method} on ${run.config.data.name}`
  const training = [lossPlot('loss', run.curves), ratePlot('rate', run.curves), trainingPlot('training', run.curves)]
  const sections: Html[] = []
  for (const [i, test] of run.tests.entries()) {
    pictures.allow(PICTURE_BYTES / run.tests.length)
    const content = await testSection(test, `t${i}`, pictures)
    const head = html`<h2 id="t${i}">Test: ${testName(test, run.tests)}</h2>`
    sections.push(i < 3 ? html`${head}${content}` : html`${head}${details('Show', content)}`)
  }
  const drawn = await draw(training)
  const body = html`<header>
<h1>${title}</h1>
<p class="lead">${about(run)}</p>
${run.result === undefined && html`<p class="warning">This run is not finished: what follows is as far as it came.</p>`}
${[...pictures.notes].map((note) => html`<p class="warning">${note}</p>`)}
</header>
<nav aria-label="Sections"><ul>
${run.tests.length > 0 && html`<li><a href="#figures">Figures</a></li>`}
${drawn.length > 0 && html`<li><a href="#learning">Training</a></li>`}
${run.tests.map((test, i) => html`<li><a href="#t${i}">${testName(test, run.tests)}</a></li>`)}
<li><a href="#run">The run</a></li>
</ul></nav>
<main>
${await figuresSection(figures)}
${drawn.length > 0 && html`<h2 id="learning">Training</h2><p class="note">${epochs.length} epochs, ${run.curves.steps.length} steps.</p>${drawn}`}
${sections}
${settings(run)}
</main>`
  return { html: page(title, body), figures, notes: [...pictures.notes] }
}

/** The figures of a run, from its tests. */
export function runFigures(run: Run): RunFigures {
  const tests = run.tests.map((test): TestFigures => {
    const { data, classes, classnames, total, correct, macro_f1, ece, images } = test
    const name = (label: number) => classnames[label] ?? ''
    return {
      data,
      classes,
      n_cls: classnames.length,
      total,
      correct,
      accuracy: wilson(correct, total),
      macro_f1,
      ece,
      most_confused: new Confusion(images, classnames.length)
        .pairs()
        .slice(0, PAIRS)
        .map(({ label, predicted, ...counts }) => ({ classname: name(label), predicted: name(predicted), ...counts })),
      worst: worst(images).map(({ path, label, predicted, prob, prob_label }) => {
        return { path, classname: name(label), predicted: name(predicted), prob, prob_label }
      }),
    }
  })
  const h = tests.flatMap(({ data, classes, accuracy }) => {
    const fresh = tests.find((other) => other.data === data && other.classes === 'new')
    return classes === 'base' && fresh ? [{ data, h: harmonicInterval(accuracy, fresh.accuracy) }] : []
  })
  const { method, result } = run
  return { run: run.folder, method, data: run.config.data.name, finished: result !== undefined, tests, h }
}

/** Wrong answers, the surest first. */
function worst(images: readonly Prediction[]): Prediction[] {
  return images
    .filter(({ label, predicted }) => label !== predicted)
    .sort((a, b) => b.prob - a.prob || a.prob_label - b.prob_label)
    .slice(0, WORST)
}

async function draw(plots: readonly (Plot | undefined)[]): Promise<Html[]> {
  const drawn: Html[] = []
  for (const plot of plots) if (plot !== undefined) drawn.push(await figure(plot))
  return drawn
}

function about({ config, method, result }: Run): Content {
  const { options, data, model } = config
  const which = options.classes === 'all' ? '' : `${options.classes} `
  const classes = `${data.n_cls} ${which}classes, model ${model.id}.`
  if (method === 'zero-shot') return `${classes} Nothing was trained.`
  const shots = options.shots > 0 ? `${options.shots} of each class` : 'all there are'
  const seconds = result?.seconds ? ` Trained in ${formatDuration(result.seconds)}.` : ''
  return `${classes} ${data.n_train} training images (${shots}), seed ${options.seed}.${seconds}`
}

async function figuresSection({ tests, h }: RunFigures): Promise<Html | undefined> {
  if (tests.length === 0) return undefined
  const cards = tests.map(
    ({ data, classes, accuracy, correct, total }) =>
      html`<li><small>${testName({ data, classes }, tests)}</small><b>${percent(accuracy)}</b><small>${range(accuracy)}</small><small>${correct} of ${total} images</small></li>`,
  )
  const harmonic = h.map(
    ({ data, h }) =>
      html`<li><small>${testName({ data, classes: 'H' }, tests)}</small><b>${percent(h)}</b><small>${range(h)}</small><small>harmonic mean of base and new</small></li>`,
  )
  const bars: [string, Interval][] = [
    ...tests.map(({ data, classes, accuracy }): [string, Interval] => [testName({ data, classes }, tests), accuracy]),
    ...h.map(({ data, h }): [string, Interval] => [testName({ data, classes: 'H' }, tests), h]),
  ]
  const groups = bars.map(([name]) => name)
  const series = [{ name: 'accuracy', values: bars.map(([, value]) => value) }]
  const whiskers =
    'Whiskers: 95 % confidence intervals (Wilson) for the number of test images; seeds differ on top of that.'
  return html`<h2 id="figures">Figures</h2>
<p class="note">Accuracy on test images with its 95 % confidence interval (Wilson): differences within it say nothing.</p>
<ul class="cards">${cards}${harmonic}</ul>
${bars.length > 1 && bars.length <= 12 && (await figure(barPlot('accuracy', 'Accuracy', { groups, series, whiskers })))}
${table(
  'All tests',
  [
    { head: 'test' },
    ...['classes', 'images', 'accuracy', '95 % interval', 'macro-F1', 'ECE'].map((head) => ({ head, number: true })),
  ],
  [
    ...tests.map(({ data, classes, n_cls, total, accuracy, macro_f1, ece }) => [
      testName({ data, classes }, tests),
      n_cls,
      total,
      percent(accuracy),
      range(accuracy),
      `${macro_f1.toFixed(1)} %`,
      `${ece.toFixed(2)} %`,
    ]),
    ...h.map(({ data, h }) => [testName({ data, classes: 'H' }, tests), '', '', percent(h), range(h), '', '']),
  ],
)}`
}

async function testSection(test: Test, id: string, pictures: Pictures): Promise<Html> {
  const { images, classnames, ece } = test
  if (images.length === 0)
    return html`<p class="note">The images of this test were not kept, only its figures.</p>${perClass(test)}`
  const { data: target = test.data, root } = test.source ?? {}
  const source = { target, root, name: test.data, split: test.split }
  const confusion = new Confusion(images, classnames.length)
  const pairs = confusion.pairs()
  const block = confusion.block(classnames.length <= WHOLE ? WHOLE : BLOCK)
  const bins = calibration(
    images.map(({ prob }) => prob),
    images.map(({ label, predicted }) => label === predicted),
  )
  const whole = block.length === classnames.length
  return html`
${await figure(reliabilityPlot(`${id}-reliability`, bins, ece))}
<h3>Confusion matrix${!whole && ` of the ${block.length} most confused of ${classnames.length} classes`}</h3>
<p class="note">Rows are the true classes, columns what they were taken for; the deeper a colour, the larger the share of its row.${!whole && ' Classes that are taken for each other stand side by side.'}</p>
${block.length > 0 ? matrix(`${id}-matrix`, confusion, block, classnames) : html`<p>No class was taken for another one.</p>`}
<h3>Most confused pairs</h3>
${pairs.length === 0 ? html`<p>There are none.</p>` : await pairList(pairs.slice(0, PAIRS), test, source, pictures)}
<h3>Worst mistakes</h3>
${await worstList(test, source, pictures)}
${perClass(test, confusion)}`
}

async function pairList(
  pairs: readonly Pair[],
  { images, classnames }: Test,
  source: Source,
  pictures: Pictures,
): Promise<Html> {
  const sure = images.toSorted((a, b) => b.prob - a.prob)
  const lists: Html[] = []
  for (const { label, predicted, count, back, total } of pairs) {
    const [truth, guess] = [classnames[label], classnames[predicted]]
    const mistaken = sure.filter((image) => image.label === label && image.predicted === predicted).slice(0, MISTAKEN)
    const right = sure.filter((image) => image.label === predicted && image.predicted === predicted).slice(0, RIGHT)
    const shown: Html[] = []
    for (const image of mistaken) {
      shown.push(
        await card(
          image,
          source,
          pictures,
          html`taken for ${guess}, ${share(image.prob)}`,
          `${truth}, taken for ${guess}`,
          true,
        ),
      )
    }
    for (const image of right) {
      shown.push(
        await card(
          image,
          source,
          pictures,
          html`for comparison: ${guess}, ${share(image.prob)}`,
          `${guess}, recognised`,
          false,
        ),
      )
    }
    lists.push(
      html`<h4>${truth} taken for ${guess}: ${count} of ${total}${back > 0 && html`, the other way round ${back}`}</h4><ul class="pictures">${shown}</ul>`,
    )
  }
  return html`${lists}`
}

async function worstList({ images, classnames }: Test, source: Source, pictures: Pictures): Promise<Html> {
  const mistakes = worst(images)
  if (mistakes.length === 0) return html`<p>There are none: every image was recognised.</p>`
  const shown: Html[] = []
  for (const image of mistakes) {
    const [truth, guess] = [classnames[image.label], classnames[image.predicted]]
    const text = html`<b>${guess}</b> ${share(image.prob)}<br>is <b>${truth}</b> ${share(image.prob_label)}`
    shown.push(await card(image, source, pictures, text, `${truth}, taken for ${guess}`, true))
  }
  const wrong = images.filter(({ label, predicted }) => label !== predicted).length
  return html`<p class="note">The surest of ${wrong} wrong answers, with the probability of the answer and of the true class. Pictures as the model sees them.</p><ul class="pictures">${shown}</ul>`
}

async function card(
  image: Prediction,
  source: Source,
  pictures: Pictures,
  text: Html,
  alt: string,
  wrong: boolean,
): Promise<Html> {
  const url = await pictures.get(source, image.path)
  const picture = url !== undefined && html`<img src="${url}" alt="${alt}">`
  return html`<li${wrong && html` class="wrong"`}>${picture}${text}<br><span class="path">${image.path}</span></li>\n`
}

function share(prob: number): string {
  return `${(100 * prob).toFixed(prob < 0.0995 ? 2 : 1)} %`
}

function perClass({ per_class, classnames }: Test, confusion?: Confusion): Html {
  const place = new Map(classnames.map((name, label) => [name, label]))
  const first = new Map<number, Pair>()
  for (const pair of confusion?.pairs() ?? []) if (!first.has(pair.label)) first.set(pair.label, pair)
  const rows = per_class.map(({ classname, total, correct, accuracy, f1 }) => {
    const pair = first.get(place.get(classname) ?? -1)
    const mistaken = pair && `${classnames[pair.predicted]} (${pair.count})`
    return [classname, total, accuracy.toFixed(1), range(wilson(correct, total)), f1.toFixed(1), mistaken ?? '']
  })
  const columns = ['images', 'accuracy, %', '95 % interval', 'F1, %'].map((head) => ({ head, number: true }))
  return html`<h3>Classes</h3>${table('Each class', [{ head: 'class' }, ...columns, { head: 'most often taken for' }], rows, { sortable: true, tall: true })}`
}

function settings({ folder, config, result }: Run): Html {
  const { options, data, model, version } = config
  const text = (value: unknown) => (value === '' ? '""' : typeof value === 'string' ? value : JSON.stringify(value))
  const facts: [string, Content][] = [
    ['folder', folder],
    ['data', `${data.name}: ${data.n_train} training images, ${data.n_cls} classes`],
    ['model', html`${model.id}, SHA-256 <code>${model.sha256.slice(0, 16)}…</code>`],
    ['version', `cocoop-train ${version}`],
    ...(result?.images_per_second
      ? [['speed', `${result.images_per_second.toFixed(1)} images/s`] as [string, Content]]
      : []),
  ]
  const quoted = /[^\w./-]/.test(folder) ? `'${folder.replaceAll("'", "'\\''")}` : folder
  const config_ = quoted.startsWith("'") ? `${quoted}/config.json'` : `${quoted}/config.json`
  return html`<h2 id="run">The run</h2>
<dl>${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
<p>Repeat it, to the same bytes:</p>
<pre>cocoop-train train --config ${config_} --out NEW-FOLDER</pre>
${details('Every option', html`<dl>${Object.entries(options).map(([name, value]) => html`<dt>--${name.replaceAll('_', '-')}</dt><dd>${text(value)}</dd>`)}</dl>`)}`
}
