// Has batches decoded: here while there are few, in a thread of its own while that takes so much of the event loop that a second core
// is worth its memory. A thread that dies loses nothing: what it had is decoded here, and the next one is started when it is needed.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { createBreath } from '@edgeloop/shared/node/breath';
import type { Logger } from 'pino';
import { type DecodedGroup, decode, type Undecoded, unpackGroup } from './decoding.ts';
import type { DecodingAnswer, DecodingJob } from './decoding-thread.ts';

interface DecoderDeps {
  log: Logger;
  /** A thread is started after so much of a second was spent here, and ended when it had nothing to do for so long. */
  busyMs?: number;
  idleMs?: number;
  startThread?: () => Worker;
}

interface Job {
  batches: readonly Uint8Array[];
  receivedAt: number;
  resolve: (group: DecodedGroup) => void;
  reject: (error: unknown) => void;
}

/** One that did not even begin is not tried again for so long. */
const unfitMs = 60_000;
/** Young objects of a group die together: room for them is cheaper than looking through them again and again. */
const resourceLimits = { maxYoungGenerationSizeMb: 32, maxOldGenerationSizeMb: 256 };
const cores = availableParallelism();

export class Decoder {
  readonly #deps: Required<DecoderDeps>;
  readonly #jobs = new Map<number, Job>();
  #nr = 0;
  #thread: Worker | undefined;
  /** It has said that it runs. */
  #runs = false;
  #idle: NodeJS.Timeout | undefined;
  #notBefore = 0;
  /** Spent here since that instant. */
  #spent = { ms: 0, since: 0 };

  constructor({ busyMs = cores > 1 ? 100 : Number.POSITIVE_INFINITY, ...deps }: DecoderDeps) {
    this.#deps = { idleMs: 30_000, startThread, busyMs, ...deps };
  }

  /** Whether what is asked for now is decoded beside the event loop. */
  get isThreaded(): boolean {
    return this.#runs;
  }

  /** In the order of the batches. */
  decode(batches: readonly Undecoded[], receivedAt: number): Promise<DecodedGroup> {
    const bytes = batches.filter((batch) => batch instanceof Uint8Array);
    if (!this.#runs || bytes.length < batches.length) return this.#decodeHere(batches, receivedAt);
    return this.#decodeThere(bytes, receivedAt);
  }

  async close(): Promise<void> {
    await this.#end();
  }

  async #decodeHere(batches: readonly Undecoded[], receivedAt: number): Promise<DecodedGroup> {
    const breathe = createBreath();
    const decoded: DecodedGroup['batches'] = [];
    for (const batch of batches) {
      const began = performance.now();
      decoded.push(decode(batch, receivedAt));
      this.#note(began, performance.now());
      await breathe();
    }
    return { batches: decoded };
  }

  #decodeThere(batches: readonly Uint8Array[], receivedAt: number): Promise<DecodedGroup> {
    return new Promise((resolve, reject) => {
      const nr = ++this.#nr;
      this.#jobs.set(nr, { batches, receivedAt, resolve, reject });
      const job: DecodingJob = { nr, ...joined(batches), receivedAt };
      this.#thread?.postMessage(job, [job.bytes.buffer]);
      this.#idle?.refresh();
    });
  }

  #note(began: number, ended: number): void {
    if (ended - this.#spent.since > 1000) this.#spent = { ms: 0, since: began };
    this.#spent.ms += ended - began;
    const isBusy = this.#spent.ms >= this.#deps.busyMs && ended >= this.#notBefore;
    if (isBusy && this.#thread === undefined) this.#start();
  }

  #start(): void {
    const { log } = this.#deps;
    const thread = this.#deps.startThread();
    this.#thread = thread;
    thread.unref();
    thread.on('message', (said: DecodingAnswer | 'ready') => {
      if (said === 'ready') this.#ready(thread);
      else this.#answered(said.nr, said.bytes);
    });
    thread.once('error', (err) => log.error({ err }, 'the thread that reads telemetry failed'));
    thread.once('exit', () => this.#ended(thread));
  }

  #ready(thread: Worker): void {
    if (this.#thread !== thread) return;
    this.#runs = true;
    this.#idle = setTimeout(() => void this.#end(), this.#deps.idleMs).unref();
  }

  #answered(nr: number, bytes: Uint8Array<ArrayBuffer>): void {
    const job = this.#jobs.get(nr);
    this.#jobs.delete(nr);
    job?.resolve(unpackGroup(bytes));
  }

  /** It died, or nobody needed it. */
  #ended(thread: Worker): void {
    if (this.#thread === thread) {
      if (!this.#runs) this.#notBefore = performance.now() + unfitMs;
      this.#forget();
    }
    for (const [nr, { batches, receivedAt, resolve, reject }] of this.#jobs) {
      this.#jobs.delete(nr);
      this.#decodeHere(batches, receivedAt).then(resolve, reject);
    }
  }

  #forget(): void {
    clearTimeout(this.#idle);
    this.#thread = undefined;
    this.#runs = false;
    this.#spent = { ms: 0, since: 0 };
  }

  async #end(): Promise<void> {
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#forget();
    await thread.terminate();
  }
}

/** From the sources the loader of the process itself is not the thread's: it registers its own. */
export function startThread(): Worker {
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./decoding-thread.js', import.meta.url), { execArgv: [], resourceLimits });
  const path = JSON.stringify(new URL('./decoding-thread.ts', import.meta.url).href);
  const code = `import('tsx/esm/api').then(({ register }) => { register(); return import(${path}); })`;
  return new Worker(code, { eval: true, execArgv: ['--conditions', '@edgeloop/source'], resourceLimits });
}

/** In memory of their own, which is handed over. */
function joined(batches: readonly Uint8Array[]): Pick<DecodingJob, 'bytes' | 'ends'> {
  const bytes = new Uint8Array(batches.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  const ends = batches.map((batch) => {
    bytes.set(batch, end);
    end += batch.length;
    return end;
  });
  return { bytes, ends };
}
