// Server-sent events: tells every listening client that something changed. Nobody is waited for: a client that reads
// too slowly is cut off, connects again and reads everything anew.
import { ChangeEvent } from '@edgeloop/shared/api/events';
import { AppError } from '@edgeloop/shared/errors';
import { createRoute } from '@hono/zod-openapi';
import { createRouter, type Router } from './router.ts';

const heartbeatMs = 15_000;
const maxQueued = 1000;
const maxClients = 500;
const text = new TextEncoder();

export type EventHub = ReturnType<typeof createEventHub>;

export function createEventHub({ now }: { now: () => number }) {
  const clients = new Map<ReadableStreamDefaultController<Uint8Array>, string>();
  /** A key may be revoked between the look at it and its first event. */
  const revokedKeys = new Set<string>();
  /** Of what else outlives the request, by key. */
  const lifetimes = new Map<string, AbortController>();
  let heartbeat: NodeJS.Timeout | undefined;

  function send(frame: string): void {
    const bytes = text.encode(frame);
    for (const client of clients.keys()) {
      if ((client.desiredSize ?? 0) > 0) client.enqueue(bytes);
      else end(client);
    }
  }

  function end(client: ReadableStreamDefaultController<Uint8Array>): void {
    clients.delete(client);
    client.close();
  }

  return {
    /** Tells all clients; never waits and never throws. */
    notify(event: Omit<ChangeEvent, 'at'>): void {
      if (clients.size === 0) return;
      const data: ChangeEvent = { ...event, at: now() };
      send(`event: ${event.type}\ndata: ${JSON.stringify(data)}\n\n`);
    },

    /** A new client's stream. @throws AppError `too_many_requests`; `unauthorized` when its key was just revoked */
    subscribe(keyId: string): ReadableStream<Uint8Array> {
      if (revokedKeys.has(keyId)) throw new AppError('unauthorized', 'this API key was revoked');
      if (clients.size >= maxClients)
        throw new AppError('too_many_requests', `${maxClients} clients listen already`, { retryAfterSeconds: 30 });
      let mine: ReadableStreamDefaultController<Uint8Array> | undefined;
      return new ReadableStream<Uint8Array>(
        {
          start(controller) {
            mine = controller;
            clients.set(controller, keyId);
            controller.enqueue(text.encode('retry: 2000\n: connected\n\n'));
          },
          cancel() {
            if (mine !== undefined) clients.delete(mine);
          },
        },
        { highWaterMark: maxQueued },
      );
    },

    /** Ends the streams that were opened with a key. */
    revoke(keyId: string): void {
      revokedKeys.add(keyId);
      for (const [client, key] of clients) if (key === keyId) end(client);
      lifetimes.get(keyId)?.abort();
      lifetimes.delete(keyId);
    },

    /** Ends when the key is revoked or the server closes. @throws AppError `unauthorized` when it was just revoked */
    lifetimeOf(keyId: string): AbortSignal {
      if (revokedKeys.has(keyId)) throw new AppError('unauthorized', 'this API key was revoked');
      const lifetime = lifetimes.get(keyId) ?? new AbortController();
      lifetimes.set(keyId, lifetime);
      return lifetime.signal;
    },

    clients: () => clients.size,

    start(): void {
      heartbeat = setInterval(() => send(': alive\n\n'), heartbeatMs);
      heartbeat.unref();
    },

    close(): void {
      clearInterval(heartbeat);
      for (const client of clients.keys()) end(client);
      for (const lifetime of lifetimes.values()) lifetime.abort();
    },
  };
}

const eventsRoute = createRoute({
  method: 'get',
  path: '/events',
  summary: 'Changes of devices, models, rollouts, alerts and runs, as server-sent events',
  tags: ['Events'],
  security: [{ apiKey: [] }],
  responses: {
    200: {
      description: 'A stream; the name of each event is its type, its data a ChangeEvent',
      content: { 'text/event-stream': { schema: ChangeEvent } },
    },
  },
});

export function eventRoutes(hub: EventHub): Router {
  const router = createRouter();
  router.openapi(eventsRoute, (c) =>
    c.body(hub.subscribe(c.var.keyId), 200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    }),
  );
  return router;
}
