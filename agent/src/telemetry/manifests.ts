// Manifests of versions on disk, kept in memory: the fold of a journal asks for them with every record. Class names that a
// manifest leaves out are those of the model's file, as the release document has them.
import { join } from 'node:path';
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import { labelsOf } from '@edgeloop/shared/meaning/interpretation';
import { readIfPresentSync } from '@edgeloop/shared/node/durable-files';
import { ModelSignature } from '@edgeloop/shared/tensors';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { ManifestOf } from './window.ts';

/** Two releases of one number lie in two folders. */
export type FolderOf = (of: { name: string; version: number; release: string | undefined }) => string;

const kept = 64;

/** `folderOf` is where `model.json` of a release is. A release's files never change, so they are read once. */
export function createManifests(folderOf: FolderOf, log: Logger): ManifestOf {
  const known = new Map<string, Manifest>();
  return (name, version, release) => {
    const key = `${name}@${version}@${release ?? ''}`;
    const present = known.get(key);
    if (present !== undefined) return present;
    try {
      const folder = folderOf({ name, version, release });
      const text = readIfPresentSync(join(folder, 'model.json'));
      if (text === undefined) return undefined;
      const what = `manifest of ${name} ${version}`;
      const manifest = withLabels(parseJson(Manifest, text, what, 'integrity'), signatureIn(folder, what));
      const oldest = known.keys().next().value;
      if (known.size >= kept && oldest !== undefined) known.delete(oldest);
      known.set(key, manifest);
      return manifest;
    } catch (error) {
      log.warn({ model: name, version, reason: messageOf(error) }, 'a manifest cannot be read');
      return undefined;
    }
  };
}

const Signed = z.object({ signature: ModelSignature });

function signatureIn(folder: string, what: string): ModelSignature | undefined {
  const text = readIfPresentSync(join(folder, 'release.json'));
  return text === undefined ? undefined : parseJson(Signed, text, `release of the ${what}`, 'integrity').signature;
}

function withLabels(manifest: Manifest, signature: ModelSignature | undefined): Manifest {
  const labels = signature && labelsOf(manifest, signature);
  return labels ? { ...manifest, outputs: { ...manifest.outputs, labels: [...labels] } } : manifest;
}
