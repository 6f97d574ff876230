// A server of `/predict` alone, with real models in it. Used by tests only.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { Hono } from 'hono';
import { createEngine } from '../../inference/engine.ts';
import { ModelFiles } from '../../process/ipc.ts';
import { errorReply, responseOf } from '../errors.ts';
import type { Observer } from '../observation.ts';
import { handleDescription } from './describe.ts';
import { handlePredict } from './predict.ts';

type Observation = Parameters<Observer['observe']>[0];

export interface Served {
  load(name: string, bytes: Uint8Array, manifest: ManifestInput): Promise<void>;
  /** Sends a body as it is, others as JSON. */
  post(path: string, body: unknown, contentType?: string): Promise<{ status: number; body: unknown }>;
  get(path: string): Promise<{ status: number; body: unknown }>;
  /** What was observed, oldest first. */
  observed: Observation[];
  close(): Promise<void>;
}

/** An empty server. */
export function servePredict(): Served {
  const folder = mkdtempSync(join(tmpdir(), 'predict-'));
  const observed: Observation[] = [];
  const engine = createEngine({
    threads: 1,
    onCrash: (_, error) => {
      throw error;
    },
  });
  const observer: Pick<Observer, 'observe'> = { observe: (observation) => observed.push(observation) };
  const tally: Observer['tally'] = () => {
    throw new Error('nothing is tallied here');
  };
  const deps = { engine, observer: { ...observer, tally }, nowMs: () => performance.now() };
  const app = new Hono();
  for (const path of ['/predict/:model', '/predict/:model/versions/:version']) {
    app.post(path, (c) => handlePredict(c, deps));
    app.get(path, (c) => handleDescription(c, deps));
  }
  app.onError((error) => responseOf(errorReply(error, () => undefined)));
  const answer = async (response: Response) => ({ status: response.status, body: await response.json() });
  return {
    observed,
    async load(name, bytes, manifest) {
      const path = join(folder, `${name}.onnx`);
      writeFileSync(path, bytes);
      await engine.load(ModelFiles.parse({ name, version: 1, path, manifest }));
      engine.activate(name, 1);
    },
    async post(path, body, contentType) {
      const raw = body instanceof Uint8Array ? new Uint8Array(body) : body instanceof FormData ? body : text(body);
      const headers = new Headers(contentType === undefined ? {} : { 'content-type': contentType });
      return answer(await app.request(path, { method: 'POST', body: raw, headers }));
    },
    get: async (path) => answer(await app.request(path)),
    async close() {
      await engine.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function text(body: unknown): string {
  return typeof body === 'string' ? body : JSON.stringify(body);
}
