// A server asked through `/predict`, with real models in it. Used by tests only.
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { type Answer, serveFront } from '../front-fixture.ts';
import type { Observer } from '../observation.ts';

type Observation = Parameters<Observer['observe']>[0];

export interface Served {
  load(name: string, bytes: Uint8Array, manifest: ManifestInput): Promise<void>;
  /** Sends bytes, texts and forms as they are, others as JSON. */
  post(path: string, body: unknown, contentType?: string): Promise<{ status: number; body: unknown }>;
  get(path: string): Promise<{ status: number; body: unknown }>;
  /** What was observed, oldest first. */
  observed: Observation[];
  close(): Promise<void>;
}

/** An empty server. */
export async function servePredict(): Promise<Served> {
  const observed: Observation[] = [];
  const observer: Observer = {
    observe: (observation) => observed.push(observation),
    tally() {
      throw new Error('nothing is tallied here');
    },
  };
  const front = await serveFront({ observer });
  const read = ({ status, json }: Answer) => ({ status, body: json() });
  return {
    observed,
    load: front.load,
    async post(path, body, contentType) {
      if (body instanceof FormData) return read(await postForm(body, path));
      return read(await front.post(path, body, contentType === undefined ? {} : { 'content-type': contentType }));
    },
    get: async (path) => read(await front.get(path)),
    close: front.close,
  };

  async function postForm(form: FormData, path: string): Promise<Answer> {
    const encoded = new Response(form);
    const bytes = Buffer.from(await encoded.arrayBuffer());
    return front.post(path, bytes, { 'content-type': encoded.headers.get('content-type') ?? '' });
  }
}
