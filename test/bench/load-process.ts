// A process that asks one server in a closed loop on kept-alive sockets: each caller sends its next request when it has
// its answer. It shares the cores with what it measures, so it does little: requests are made beforehand, all sockets
// read into one buffer, and answers are only looked at as far as counting needs.
import { connect, type Socket } from 'node:net';
import type { Load, LoadResult } from './load.ts';

const received = Buffer.allocUnsafe(256 * 1024);
const headEnd = Buffer.from('\r\n\r\n');
const chunkedEnd = Buffer.from('0\r\n\r\n');

/** A slice lasts longer where answers are rare, up to this. */
const longestMs = 5000;
const enoughAnswers = 32;

interface Run {
  load: Load;
  request: Buffer;
  beginMs: number;
  atMs: number[];
  tookMs: number[];
  failures: Map<string, number>;
}

async function run(load: Load): Promise<LoadResult> {
  const state: Run = {
    load,
    request: Buffer.from(load.request, 'base64'),
    beginMs: performance.now() + Math.min(200, load.durationMs * 0.2),
    atMs: [],
    tookMs: [],
    failures: new Map(),
  };
  await Promise.all(Array.from({ length: load.callers }, () => new Promise<void>((leave) => call(state, leave))));
  const seconds = Math.max(load.durationMs, state.atMs.at(-1) ?? 0) / 1000;
  const { tookMs, atMs, failures } = state;
  return { answers: tookMs.length, seconds, tookMs, atMs, failures: Object.fromEntries(failures) };
}

function isOver({ load, beginMs, tookMs }: Run, nowMs: number): boolean {
  const goneMs = nowMs - beginMs;
  return goneMs >= longestMs ? goneMs >= load.durationMs : goneMs >= load.durationMs && tookMs.length >= enoughAnswers;
}

/** One caller, until the run is over. */
function call(state: Run, leave: () => void): void {
  const { load, request } = state;
  const answer = createAnswer();
  let socket: Socket | undefined;
  let startMs = 0;
  let waiting = false;

  const ask = (): void => {
    startMs = performance.now();
    if (isOver(state, startMs)) {
      socket?.destroy();
      leave();
      return;
    }
    waiting = true;
    socket ??= open();
    socket.write(request);
  };

  const open = (): Socket => {
    const opened = connect({
      ...('path' in load.target ? load.target : { ...load.target, host: '127.0.0.1' }),
      noDelay: true,
      onread: { buffer: received, callback: receive },
    });
    let broken = 'the connection was closed';
    opened.on('error', (error) => {
      broken = String(error);
    });
    opened.on('close', () => {
      if (socket === opened) socket = undefined;
      if (waiting) end(broken);
    });
    return opened;
  };

  const receive = (length: number): boolean => {
    if (answer.add(received.subarray(0, length))) {
      end(answer.status() === 200 ? undefined : `status ${answer.status()}`);
    }
    return true;
  };

  const end = (failure: string | undefined): void => {
    note(state, startMs, failure);
    answer.reset();
    waiting = false;
    if (load.pauseMs === undefined) ask();
    else setTimeout(ask, load.pauseMs);
  };

  ask();
}

function note(state: Run, startMs: number, failure: string | undefined): void {
  const { beginMs, tookMs, atMs, failures } = state;
  const nowMs = performance.now();
  if (failure !== undefined) failures.set(failure, (failures.get(failure) ?? 0) + 1);
  // Answers within the slice count, whenever they were asked for; what was under way at its end does not.
  else if (nowMs >= beginMs && !isOver(state, nowMs)) {
    tookMs.push(nowMs - startMs);
    atMs.push(nowMs - beginMs);
  }
}

interface Answer {
  /** True when the answer is whole. */
  add(bytes: Buffer): boolean;
  status(): number;
  reset(): void;
}

function createAnswer(): Answer {
  let head: Buffer | undefined;
  let status = 0;
  /** Bytes of the body that are still to come: unknown before the head is whole, infinite when it comes in chunks. */
  let missing: number | undefined;

  const readHead = (bytes: Buffer): number | undefined => {
    const whole = head === undefined ? bytes : Buffer.concat([head, bytes]);
    const end = whole.indexOf(headEnd);
    if (end === -1) {
      head = Buffer.from(whole);
      return undefined;
    }
    const text = whole.toString('latin1', 0, end);
    status = Number(text.slice(9, 12));
    const length = /content-length: *(\d+)/i.exec(text)?.[1];
    if (length !== undefined) return Number(length) - (whole.length - end - headEnd.length);
    return endsChunked(whole) ? 0 : Number.POSITIVE_INFINITY;
  };

  return {
    add(bytes) {
      if (missing === undefined) missing = readHead(bytes);
      else if (missing === Number.POSITIVE_INFINITY) missing = endsChunked(bytes) ? 0 : missing;
      else missing -= bytes.length;
      return missing !== undefined && missing <= 0;
    },
    status: () => status,
    reset() {
      head = undefined;
      missing = undefined;
    },
  };
}

function endsChunked(bytes: Buffer): boolean {
  return bytes.subarray(-chunkedEnd.length).equals(chunkedEnd);
}

process.on('message', (load: Load) => {
  void run(load).then((result) => process.send?.(result));
});
