/** Health: live (this answers), ready (the store answers and a model of it is loaded). */
import { answers, createRoute, router, z } from '../http.ts'

const Status = z.object({ status: z.enum(['live', 'ready']) }).openapi('Health')

const live = createRoute({
  method: 'get',
  path: '/health/live',
  summary: 'It runs',
  responses: answers(Status, 'Live'),
})
const ready = createRoute({
  method: 'get',
  path: '/health/ready',
  summary: 'It can classify: 503 `model_not_found` while the store holds no model',
  responses: answers(Status, 'Ready; the model is loaded'),
})

export const health = router()
  .openapi(live, (c) => c.json({ status: 'live' as const }, 200))
  .openapi(ready, async (c) => {
    await c.var.runtime.ready()
    return c.json({ status: 'ready' as const }, 200)
  })
