/** The page's text: choose a bundle, drop an image, see the classes. Works without a mouse, on a phone, in light and dark. */

export const html = (nonce: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cocoop</title>
<style nonce="${nonce}">
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 40rem; margin: 0 auto; padding: 1rem }
  label { display: block; margin: .75rem 0 .25rem }
  select, input { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem }
  #drop { border: 2px dashed GrayText; border-radius: .5rem; padding: 1.5rem; text-align: center; margin-top: 1rem }
  #drop.over { border-color: Highlight }
  #drop img { max-width: 100%; max-height: 12rem; display: block; margin: 0 auto .5rem }
  table { border-collapse: collapse; width: 100%; margin-top: 1rem }
  td, th { text-align: left; padding: .3rem .5rem .3rem 0; border-bottom: 1px solid GrayText }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
  td:nth-child(2) { width: 40% }
  meter { width: 100% }
  pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
</style>
<h1>cocoop</h1>
<p>Classify an image with a learned CLIP prompt.</p>
<label for="bundle">Bundle</label>
<select id="bundle"></select>
<label for="classnames">Other class names, separated by commas (optional)</label>
<input id="classnames" autocomplete="off">
<div id="drop">
  <img id="preview" alt="" hidden>
  <label for="file">Drop an image here, or choose one</label>
  <input id="file" type="file" accept="image/png,image/jpeg,image/webp,image/gif">
</div>
<p id="status" role="status"></p>
<table id="result" hidden>
  <thead><tr><th>Class<th><th class="number">Probability<th class="number">Cosine</tr></thead>
  <tbody></tbody>
</table>
<pre id="curl"></pre>
<script nonce="${nonce}">
  const $ = (id) => document.getElementById(id)
  let image
  const say = (text) => { $('status').textContent = text }
  async function load() {
    const answer = await (await fetch('bundles')).json()
    if (answer.detail) return say(answer.title + ': ' + answer.detail)
    for (const { name, method, n_cls } of answer.bundles) {
      $('bundle').add(new Option(name + ' (' + method + ', ' + n_cls + ' classes)', name))
    }
    if (answer.bundles.length === 0) say('No bundle is published yet.')
  }
  async function classify() {
    if (!image || !$('bundle').value) return
    const query = new URLSearchParams({ bundle: $('bundle').value })
    for (const name of $('classnames').value.split(',')) if (name.trim()) query.append('classnames', name.trim())
    say('Classifying…')
    const url = new URL('classify?' + query, location.href)
    const headers = { 'content-type': image.type || 'application/octet-stream' }
    const answer = await (await fetch(url, { method: 'POST', headers, body: image })).json()
    $('result').hidden = !answer.predictions
    if (!answer.predictions) return say(answer.title + ': ' + answer.detail)
    say(answer.bundle.name + '@' + answer.bundle.sha256.slice(0, 12) + ', ' + answer.bundle.method)
    const rows = answer.predictions.map(({ classname, prob, cosine }) => {
      const row = document.createElement('tr')
      const meter = document.createElement('meter')
      meter.value = prob
      row.insertCell().textContent = classname
      row.insertCell().append(meter)
      for (const text of [(100 * prob).toFixed(1) + ' %', cosine.toFixed(4)]) {
        const cell = row.insertCell()
        cell.className = 'number'
        cell.textContent = text
      }
      return row
    })
    $('result').tBodies[0].replaceChildren(...rows)
    $('curl').textContent = "curl --data-binary '@" + (image.name || 'image').replaceAll("'", "'\\\\''") + "' -H 'content-type: " + headers['content-type'] + "' '" + url + "'"
  }
  const run = (work) => work().catch((error) => say(error.message))
  function take(file) {
    if (!file) return
    image = file
    URL.revokeObjectURL($('preview').src)
    $('preview').src = URL.createObjectURL(file)
    $('preview').alt = file.name
    $('preview').hidden = false
    run(classify)
  }
  $('file').addEventListener('change', () => take($('file').files[0]))
  $('bundle').addEventListener('change', () => run(classify))
  $('classnames').addEventListener('change', () => run(classify))
  for (const type of ['dragover', 'dragleave', 'drop']) {
    $('drop').addEventListener(type, (event) => {
      event.preventDefault()
      $('drop').classList.toggle('over', type === 'dragover')
      if (type === 'drop') take(event.dataTransfer.files[0])
    })
  }
  run(load)
</script>
</html>
`
