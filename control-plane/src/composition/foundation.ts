// What every room stands on: the data folder and its lock, the database, blobs, keys and certificates, metrics, events.
import { join } from 'node:path';
import { lockDataFolder } from '@edgeloop/shared/node/lock';
import type { Logger } from 'pino';
import { openAuthority } from '../access/authority.ts';
import { createKeys } from '../access/keys.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import type { Config } from '../config.ts';
import { openDatabase } from '../database/open.ts';
import { createStorageWatch } from '../database/storage-watch.ts';
import { createEventHub } from '../http/events.ts';
import { createMetrics } from '../http/metrics.ts';
import { version } from '../version.ts';
import type { Closing } from './closing.ts';
import { clearScratch, keepToOwner } from './data-folder.ts';
import { startExport } from './open-telemetry.ts';

export type Foundation = Awaited<ReturnType<typeof layFoundation>>;

export interface FoundationDeps {
  config: Config;
  log: Logger;
  now: () => number;
  closing: Closing;
}

/** Opens all of it; `closing` learns how to close it again. */
export async function layFoundation({ config, log, now, closing }: FoundationDeps) {
  const { dataDir, publicHosts } = config;
  const lock = lockDataFolder({
    folder: dataDir,
    file: 'server.lock',
    owner: 'server',
    variable: 'EDGELOOP_DATA_DIR',
  });
  closing.add('lock', () => lock.release());
  await keepToOwner(dataDir, log);
  await clearScratch(dataDir);
  const opened = await openDatabase(config);
  closing.add('database', () => opened.close());
  const storage = createStorageWatch({ folder: dataDir, database: opened, log: log.child({ room: 'storage' }) });
  await storage.start();
  closing.add('storage', () => storage.close());
  const { database } = storage;
  const authority = await openAuthority({ dataDir, publicHosts, now, log });
  const events = createEventHub({ now });
  const keys = createKeys({ database, now, revoked: events.revoke, log: log.child({ room: 'access' }) });
  await keys.ensureAdmin(join(dataDir, 'admin.key'));
  const metrics = createMetrics();
  metrics.start();
  closing.add('metrics', () => metrics.close());
  const exporting = await startExport(process.env, { registry: metrics.registry, version });
  closing.add('OpenTelemetry', () => exporting?.close());
  return {
    config,
    log,
    now,
    database,
    storage,
    authority,
    keys,
    metrics,
    /** Undefined unless a collector is named. */
    exporting,
    /** Started and closed with the port that serves it. */
    events,
    blobs: createFolderBlobs(join(dataDir, 'blobs')),
  };
}
