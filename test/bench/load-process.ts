// A process that asks one server in a closed loop on kept-alive sockets: each caller sends its next request when it has
// its answer. The requests are made beforehand, and answers are only looked at as far as counting needs.
import { connect, type Socket } from 'node:net';
import type { Load, LoadResult } from './load.ts';

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
  await Promise.all(Array.from({ length: load.callers }, () => caller(state)));
  const seconds = Math.max(load.durationMs, state.atMs.at(-1) ?? 0) / 1000;
  const { tookMs, atMs, failures } = state;
  return { answers: tookMs.length, seconds, tookMs, atMs, failures: Object.fromEntries(failures) };
}

function isOver({ load, beginMs, tookMs }: Run, nowMs: number): boolean {
  const goneMs = nowMs - beginMs;
  return goneMs >= longestMs ? goneMs >= load.durationMs : goneMs >= load.durationMs && tookMs.length >= enoughAnswers;
}

async function caller(state: Run): Promise<void> {
  const { load, request, beginMs } = state;
  let socket: Socket | undefined;
  while (!isOver(state, performance.now())) {
    const startMs = performance.now();
    try {
      socket ??= await open(load.target);
      const status = await exchange(socket, request);
      const nowMs = performance.now();
      // Answers within the slice count, whenever they were asked for; what was under way at its end does not.
      if (status === 200 && nowMs >= beginMs && !isOver(state, nowMs)) {
        state.tookMs.push(nowMs - startMs);
        state.atMs.push(nowMs - beginMs);
      }
      if (status !== 200) count(state.failures, `status ${status}`);
    } catch (error) {
      count(state.failures, String(error));
      socket?.destroy();
      socket = undefined;
    }
    if (load.pauseMs !== undefined) await new Promise((resolve) => setTimeout(resolve, load.pauseMs));
  }
  socket?.destroy();
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

function open(target: Load['target']): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = 'path' in target ? connect(target.path) : connect(target.port, '127.0.0.1');
    socket.setNoDelay(true);
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

/** Sends the request and resolves with the status once the answer is whole. */
function exchange(socket: Socket, request: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    let head: Buffer | undefined;
    let status = 0;
    let missing = -1;
    const settle = (end: () => void): void => {
      socket.off('data', receive);
      socket.off('error', broken);
      socket.off('close', broken);
      end();
    };
    const broken = (error?: unknown): void =>
      settle(() => reject(error instanceof Error ? error : new Error('the connection was closed')));
    const receive = (chunk: Buffer): void => {
      if (missing === -1) {
        head = head === undefined ? chunk : Buffer.concat([head, chunk]);
        const end = head.indexOf(headEnd);
        if (end === -1) return;
        const text = head.toString('latin1', 0, end);
        status = Number(text.slice(9, 12));
        const length = /content-length: *(\d+)/i.exec(text)?.[1];
        missing = length === undefined ? Number.POSITIVE_INFINITY : Number(length) - (head.length - end - 4);
        if (length === undefined && head.subarray(-chunkedEnd.length).equals(chunkedEnd)) missing = 0;
      } else if (missing === Number.POSITIVE_INFINITY) {
        if (chunk.subarray(-chunkedEnd.length).equals(chunkedEnd)) missing = 0;
      } else missing -= chunk.length;
      if (missing <= 0) settle(() => resolve(status));
    };
    socket.on('data', receive);
    socket.on('error', broken);
    socket.on('close', broken);
    socket.write(request);
  });
}

process.on('message', (load: Load) => {
  void run(load).then((result) => process.send?.(result));
});
