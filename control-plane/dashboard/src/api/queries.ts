// Reads for components: kept fresh by change events and polling, and without flicker, since the last answer stays.
import { pageOf } from '@edgeloop/shared/api/paging';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { z } from 'zod';
import { checked, queryOf, send } from './client.ts';
import { type ChangeType, onChange } from './events.ts';

export interface Query<T> {
  data: T | undefined;
  error: AppError | undefined;
  /** Nothing to show yet, neither data nor an error. */
  loading: boolean;
}

interface QueryOptions<S extends z.ZodType> {
  schema: S;
  /** Names the answer: the same key shows the last answer at once. Null reads nothing. */
  key: string | null;
  load: () => Promise<unknown>;
  /** Changes after which it is read again. */
  on: ChangeType[];
  /** Milliseconds that changes are gathered before reading again. */
  gatherMs?: number;
}

const pollMs = 10_000;
const answers = new Map<string, unknown>();
const keptAnswers = 200;

/** Reads `load` now, after each change in `on`, and every ten seconds while the page is visible. */
export function useFetch<S extends z.ZodType>(options: QueryOptions<S>): Query<z.output<S>> {
  const { schema, key } = options;
  const [state, setState] = useState<{ key: string | null; data?: z.output<S>; error?: AppError }>({ key: null });
  const latest = useRef(options);
  latest.current = options;

  useEffect(() => {
    if (key === null) return;
    let current = true;
    const read = oneAtATime(async () => {
      try {
        const raw = await latest.current.load();
        const data = checked(latest.current.schema, raw, key);
        if (!current) return;
        remember(key, raw);
        setState({ key, data });
      } catch (cause) {
        const error = cause instanceof AppError ? cause : new AppError('internal', messageOf(cause), { cause });
        if (current) setState((last) => (last.key === key ? { ...last, error } : { key, error }));
      }
    });
    void read();
    const stop = keepFresh(read, latest.current.on, latest.current.gatherMs ?? 400);
    return () => {
      current = false;
      stop();
    };
  }, [key]);

  const shown = key !== null && (state.key === key || sameSubject(state.key, key)) ? state : undefined;
  const data = shown?.data ?? cached(schema, key);
  const error = shown?.error;
  return { data, error, loading: data === undefined && error === undefined };
}

/** Reads one resource of the API. */
export function useQuery<S extends z.ZodType>(schema: S, path: string | null, on: ChangeType[]): Query<z.output<S>> {
  return useFetch({ schema, key: path, load: () => send({ method: 'GET', path: path ?? '' }), on });
}

/** Reads the first `limit` entries of a list; `more` is set when there are others. */
export function useList<S extends z.ZodType>(
  item: S,
  list: { path: string; limit?: number; query?: Record<string, string | undefined>; on: ChangeType[] },
): Query<z.output<S>[]> & { more: boolean } {
  const path = list.path + queryOf({ ...list.query, limit: list.limit ?? 200 });
  const page = useQuery(pageOf(item), path, list.on);
  return { ...page, data: page.data?.items, more: page.data?.nextCursor !== undefined };
}

/** Another key may see other things. */
export function forgetAnswers(): void {
  answers.clear();
}

/** Reads again within `gatherMs` of a change, however many come; returns how to stop. */
function keepFresh(read: () => Promise<void>, on: ChangeType[], gatherMs: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void read();
    }, gatherMs);
  };
  const unlisten = onChange((types) => {
    if (types === 'all' || on.some((type) => types.has(type))) soon();
  });
  const poll = setInterval(() => {
    if (document.visibilityState === 'visible') void read();
  }, pollMs);
  document.addEventListener('visibilitychange', soon);
  return () => {
    unlisten();
    clearInterval(poll);
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', soon);
  };
}

/** A call while one is under way makes one more after it, so that answers never overtake each other nor pile up. */
function oneAtATime(read: () => Promise<void>): () => Promise<void> {
  let state: 'idle' | 'reading' | 'again' = 'idle';
  return async () => {
    if (state !== 'idle') {
      state = 'again';
      return;
    }
    do {
      state = 'reading';
      await read();
    } while (stillWanted());
    state = 'idle';
  };

  function stillWanted(): boolean {
    return state === 'again';
  }
}

/** With another filter or time range the former answer stays until the new one is there; another resource starts blank. */
function sameSubject(one: string | null, other: string): boolean {
  return one?.split('?')[0] === other.split('?')[0];
}

function remember(key: string, raw: unknown): void {
  answers.delete(key);
  answers.set(key, raw);
  const oldest = answers.keys().next().value;
  if (answers.size > keptAnswers && oldest !== undefined) answers.delete(oldest);
}

function cached<S extends z.ZodType>(schema: S, key: string | null): z.output<S> | undefined {
  if (key === null || !answers.has(key)) return undefined;
  const result = schema.safeParse(answers.get(key));
  return result.success ? result.data : undefined;
}
