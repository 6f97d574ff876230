// Manifests of versions on disk, kept in memory: the fold of a journal asks for them with every record.
import { join } from 'node:path';
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import { readIfPresentSync } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
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
      const text = readIfPresentSync(join(folderOf({ name, version, release }), 'model.json'));
      if (text === undefined) return undefined;
      const manifest = parseJson(Manifest, text, `manifest of ${name} ${version}`, 'integrity');
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
