// Whether a version's folder is that of a pipeline, which has no model.onnx: its manifest says so.
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readIfPresentSync } from '@edgeloop/shared/node/durable-files';

/** Also of a manifest with faults, so that they are told. `path` is `DIR/NAME/VERSION`. */
export function saysPipeline(path: string): boolean {
  try {
    if (!readdirSync(path).some((name) => name.endsWith('.onnx'))) return false;
    const text = readIfPresentSync(join(path, 'model.json')) ?? readIfPresentSync(join(dirname(path), 'model.json'));
    const manifest: unknown = JSON.parse(text ?? '{}');
    return typeof manifest === 'object' && manifest !== null && 'pipeline' in manifest;
  } catch {
    return false; // What cannot be read says nothing; whoever reads it to serve it tells why.
  }
}
