// Answers of a model to inputs that it was given before, for models whose manifest asks for it: to a deterministic model the
// same bytes are the same answer. What is kept is bounded in bytes; what was used longest ago goes first. It belongs to one
// loading of a version: another file, manifest or arrangement begins without any.
import { createHash } from 'node:crypto';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { sizeBytes } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../inference/engine.ts';

export interface ResponseCache {
  /** By which an answer to these inputs is found; they are in the order of the signature. */
  keyOf(inputs: readonly NamedTensor[]): string;
  get(key: string): readonly NamedTensor[] | undefined;
  /** Nothing is copied: outputs belong to nobody else once they are answered. */
  put(key: string, outputs: readonly NamedTensor[]): void;
}

/** What an entry takes besides its tensors. */
const entryBytes = 512;

const caches = new WeakMap<LoadedModel, ResponseCache>();

/** Undefined for a model that does not ask for one. */
export function cacheOf(model: LoadedModel): ResponseCache | undefined {
  const maxBytes = model.files.manifest.cache?.maxBytes;
  if (maxBytes === undefined) return undefined;
  const known = caches.get(model);
  if (known) return known;
  const created = createResponseCache(maxBytes);
  caches.set(model, created);
  return created;
}

export function createResponseCache(maxBytes: number): ResponseCache {
  /** In the order of their last use. */
  const entries = new Map<string, { outputs: readonly NamedTensor[]; bytes: number }>();
  let held = 0;

  const drop = (key: string): void => {
    held -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  };

  return {
    keyOf,
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry.outputs;
    },
    put(key, outputs) {
      const bytes = outputs.reduce((sum, output) => sum + sizeBytes(output), entryBytes);
      drop(key);
      if (bytes > maxBytes) return;
      entries.set(key, { outputs, bytes });
      held += bytes;
      for (const oldest of entries.keys()) {
        if (held <= maxBytes) return;
        drop(oldest);
      }
    },
  };
}

/** Shapes and texts with their lengths, so that no two inputs are the same bytes. */
function keyOf(inputs: readonly NamedTensor[]): string {
  const hash = createHash('sha256');
  for (const { name, datatype, shape, data } of inputs) {
    hash.update(JSON.stringify([name, datatype, shape]));
    if (!Array.isArray(data)) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    else for (const text of data) hash.update(`${Buffer.byteLength(text)}:${text}`);
  }
  return hash.digest('base64');
}
