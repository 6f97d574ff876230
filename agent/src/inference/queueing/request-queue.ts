// The requests of one model that wait for a worker thread: the highest priority first, within it the oldest.

export interface Queued {
  /** 0 is the highest. */
  priority: number;
  rows: number;
  bytes: number;
  enqueuedAtMs: number;
}

export interface RequestQueue<T extends Queued> {
  add(request: T): void;
  first(): T | undefined;
  /** Takes the first away. */
  shift(): T | undefined;
  /** False when it is not there any more. */
  remove(request: T): boolean;
  length(): number;
  /** Rows of all of them; a request that runs alone counts as one. */
  rows(): number;
  bytes(): number;
  oldestMs(): number | undefined;
}

export function createRequestQueue<T extends Queued>(): RequestQueue<T> {
  const waiting: T[] = [];
  let rows = 0;
  let bytes = 0;

  const count = (request: T, sign: 1 | -1): void => {
    rows += sign * Math.max(request.rows, 1);
    bytes += sign * request.bytes;
  };

  return {
    add(request) {
      let place = waiting.length;
      while (place > 0 && (waiting[place - 1]?.priority ?? 0) > request.priority) place--;
      if (place === waiting.length) waiting.push(request);
      else waiting.splice(place, 0, request);
      count(request, 1);
    },
    first: () => waiting[0],
    shift() {
      const request = waiting.shift();
      if (request) count(request, -1);
      return request;
    },
    remove(request) {
      const place = waiting.indexOf(request);
      if (place < 0) return false;
      waiting.splice(place, 1);
      count(request, -1);
      return true;
    },
    length: () => waiting.length,
    rows: () => rows,
    bytes: () => bytes,
    oldestMs: () =>
      waiting.reduce<number | undefined>(
        (oldest, { enqueuedAtMs }) => Math.min(oldest ?? enqueuedAtMs, enqueuedAtMs),
        undefined,
      ),
  };
}
