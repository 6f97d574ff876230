// The live connection: change events of the server, told to whatever is on screen, with reconnection.
import { ChangeEvent, type eventTypes } from '@edgeloop/shared/api/events';
import { signal } from '@preact/signals';
import { apiRoot } from './client.ts';
import { apiKey } from './session.ts';
import { createEventStreamParser } from './sse.ts';

export type ChangeType = (typeof eventTypes)[number];
type Listener = (types: ReadonlySet<ChangeType> | 'all') => void;

/** Whether changes reach this page by themselves at the moment. */
export const connection = signal<'connecting' | 'live' | 'lost'>('connecting');

/** A server that is alive sends something at least this often, if only a comment. */
const silenceLimitMs = 45_000;
const longestPauseMs = 15_000;
const listeners = new Set<Listener>();

/** Calls back with what has changed, `all` after a reconnection, when anything may have. */
export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells what is on screen that something changed, for example by the person's own click. */
export function announce(types: ReadonlySet<ChangeType> | 'all'): void {
  for (const listener of listeners) listener(types);
}

/** Keeps one connection open as long as there is a key. */
export function startEvents(): void {
  apiKey.subscribe((key) => {
    stop.abort();
    stop = new AbortController();
    if (key !== undefined) void keepConnected(key, stop.signal);
  });
}

let stop = new AbortController();

async function keepConnected(key: string, signal: AbortSignal): Promise<void> {
  let pauseMs = 500;
  let everConnected = false;
  while (!signal.aborted) {
    try {
      await follow(key, signal, () => {
        connection.value = 'live';
        pauseMs = 500;
        if (everConnected) announce('all');
        everConnected = true;
      });
    } catch {
      // Whatever the reason, the answer is the same: show that the connection is lost and try again.
    }
    if (signal.aborted) return;
    connection.value = 'lost';
    await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.75 + Math.random() / 2)));
    pauseMs = Math.min(pauseMs * 2, longestPauseMs);
  }
}

async function follow(key: string, signal: AbortSignal, connected: () => void): Promise<void> {
  const silence = new AbortController();
  const response = await fetch(`${apiRoot}/events`, {
    headers: { Authorization: `Bearer ${key}`, Accept: 'text/event-stream' },
    cache: 'no-store',
    signal: AbortSignal.any([signal, silence.signal]),
  });
  if (!response.ok || response.body === null) throw new Error(`GET /events answered ${response.status}`);
  connected();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = createEventStreamParser();
  while (true) {
    const timer = setTimeout(() => silence.abort(), silenceLimitMs);
    const piece = await reader.read().finally(() => clearTimeout(timer));
    if (piece.done) return;
    const types = new Set(parse(piece.value).flatMap(({ data }) => typeOf(data)));
    if (types.size > 0) announce(types);
  }
}

/** An event of a newer server that this page does not know changes nothing on it. */
function typeOf(data: string): ChangeType[] {
  try {
    const event = ChangeEvent.safeParse(JSON.parse(data));
    return event.success ? [event.data.type] : [];
  } catch {
    return [];
  }
}
