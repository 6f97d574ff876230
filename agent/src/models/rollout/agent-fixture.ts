// An agent as the supervising process builds it, without processes, telemetry and enrolment, for tests that bring those along: state,
// files, orders, rollout and session are the real ones.
import { join } from 'node:path';
import type { Desired, DeviceFacts, Reported } from '@edgeloop/shared/messages';
import pino from 'pino';
import { readFact, writeFact } from '../../database/facts.ts';
import { openDatabase } from '../../database/open.ts';
import type { DevicePort } from '../../identity/device-port.ts';
import { heed, type Trust } from '../../identity/trust.ts';
import { createLink } from '../../link/session.ts';
import { Problems } from '../../problems.ts';
import type { ModelFiles, PresentHold } from '../../process/ipc.ts';
import { PendingWrites } from '../../storage/pending-writes.ts';
import type { Failure } from '../failure.ts';
import { createFileCheck } from '../file-check.ts';
import { createModelStore } from '../store.ts';
import { createQuarantine } from '../trying/quarantine.ts';
import { createBandwidth } from './bandwidth.ts';
import { ModelDriver, type ModelDriverOptions } from './model-driver.ts';
import type { ModelState } from './model-state.ts';
import { Orders } from './orders.ts';
import { createStateStore } from './state-store.ts';

export interface AgentParts {
  id: string;
  /** What lies there is found again by the next life. */
  folder: string;
  serving: ModelDriverOptions['serving'];
  port: DevicePort;
  /** Whom it believes; kept by the caller over lives. */
  trust: { now: Trust };
  connect: Parameters<typeof createLink>[1];
  prove(model: ModelFiles, signal: AbortSignal): Promise<Failure | undefined>;
  hold(): PresentHold | undefined;
  /** Before anything is written to the database; throws what the disk says. */
  beforeWrite(): void;
  onState(name: string, state: ModelState | undefined): void;
  onOrder(order: Pick<Desired, 'generation' | 'models'>, generation: number): void;
  probationMs: number;
  rereadMs: number;
}

export type SimulatedAgent = Awaited<ReturnType<typeof startAgent>>;

const log = pino({ level: 'silent' });
const facts: DeviceFacts = {
  ...{ agentVersion: '1', nodeVersion: '20', platform: 'linux', arch: 'x64', cpus: 1, memoryBytes: 1 },
  ...{ cpuModel: '', hostname: '', capabilities: ['beside'] },
};

class DiskWrites extends PendingWrites {
  readonly #before: () => void;

  constructor(folder: string, before: () => void) {
    const reserve = { make: () => true, release: () => false };
    super({ folder, reserve, problems: new Problems(log), log });
    this.#before = before;
  }

  override write(key: string, work: () => void): boolean {
    return super.write(key, () => {
      this.#before();
      work();
    });
  }
}

/** Starts what is on disk; `join` connects. */
export async function startAgent(parts: AgentParts, own: (database: { close(): void }) => void) {
  const { id, folder, trust, beforeWrite } = parts;
  const database = openDatabase(join(folder, 'agent.db'), log);
  own({ close: () => database.$client.close() });
  const writes = new DiskWrites(folder, beforeWrite);
  const cleanStop = readFact(database, 'clean_stop') === 'yes';
  writes.write('clean_stop', () => writeFact(database, 'clean_stop', 'no'));
  const stop = new AbortController();
  const states = createStateStore(database, writes, log);
  const orders = new Orders({ database, writes, log });
  const startedAt = Date.now();
  const driver = new ModelDriver({
    ...parts,
    prove: async (model, signal) => ({ failure: await parts.prove(model, signal) }),
    store: createModelStore(join(folder, 'models')),
    states: {
      load: states.load,
      save(state) {
        parts.onState(state.name, state);
        return states.save(state);
      },
      remove(name) {
        parts.onState(name, undefined);
        states.remove(name);
      },
    },
    source: () => ({ port: parts.port, trustedKeys: trust.now.keys, bandwidth: createBandwidth(undefined) }),
    fileCheck: createFileCheck(log),
    tuningOf: () => undefined,
    tune: async () => undefined,
    shortage: () => undefined,
    quarantine: createQuarantine(database, writes, Date.now),
    log,
    onChange: () => link.reportSoon(),
  });
  const link = createLink(
    {
      rereadMs: parts.rereadMs,
      log,
      report: (): Reported => ({
        ...{ generation: orders.generation, models: driver.report(), facts, startedAt, reportedAt: Date.now() },
        outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
      }),
      onConnected: () => undefined,
      onDesired(desired) {
        const heeded = heed(trust.now, desired, { deviceId: id, nowMs: Date.now() });
        trust.now = heeded.trust;
        if (!orders.take(heeded.order)) return;
        parts.onOrder(heeded.order, orders.generation);
        driver.setDesired(heeded.order);
        link.reportSoon();
      },
      onAcknowledged: () => undefined,
      onClock: () => undefined,
      onSent: () => undefined,
      onFailure: () => undefined,
      onIdentityConflict: () => undefined,
      onCommand: async ({ id: command }) => ({ id: command, ok: true, message: '' }),
    },
    parts.connect,
  );
  await driver.start(stop.signal, cleanStop);
  return {
    driver,
    orders,
    join: () => link.connect({ deviceId: id, hosts: ['server'], port: 1, ca: '', cert: '', key: '' }),
    async stop(): Promise<void> {
      stop.abort();
      await driver.close();
      await link.close(2000);
      writes.write('clean_stop', () => writeFact(database, 'clean_stop', 'yes'));
      writes.close();
    },
  };
}
