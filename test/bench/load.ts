// Drives the load process.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';

export interface Load {
  target: { port: number } | { path: string };
  callers: number;
  durationMs: number;
  /** Between an answer and the next request of the same caller. */
  pauseMs?: number;
  /** The whole HTTP request, base64. */
  request: string;
}

export interface LoadResult {
  answers: number;
  seconds: number;
  tookMs: number[];
  /** When each answer came, since the begin. */
  atMs: number[];
  failures: Record<string, number>;
}

export interface LoadGenerator {
  run(load: Load): Promise<LoadResult>;
  stop(): void;
}

export function startLoadGenerator(): LoadGenerator {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const child: ChildProcess = fork(fileURLToPath(new URL(`./load-process.${extension}`, import.meta.url)), [], {
    execArgv: sourceExecArgv(import.meta.url),
    serialization: 'advanced',
  });
  return {
    async run(load) {
      child.send(load);
      const [result]: LoadResult[] = await once(child, 'message');
      if (result === undefined) throw new Error('the load process gave no result');
      return result;
    },
    stop: () => void child.kill(),
  };
}

/** A POST as bytes on the wire, base64. */
export function httpPost(path: string, body: string | Buffer, headers: Record<string, string> = {}): string {
  const bytes = Buffer.from(body);
  const all = { host: 'localhost', 'content-length': String(bytes.length), ...headers };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${head.join('')}\r\n`), bytes]).toString('base64');
}

/** Quantile `q` of a list; NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);
