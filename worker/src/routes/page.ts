/** GET /: a page to try it. One file, nothing from elsewhere; its script may run by a nonce alone. */

import { router } from '../http.ts'
import { html } from '../page.ts'

export const page = router()
page.get('/', (c) => {
  const nonce = crypto.randomUUID()
  c.header(
    'Content-Security-Policy',
    `default-src 'none'; connect-src 'self'; img-src blob:; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'`,
  )
  return c.html(html(nonce))
})
