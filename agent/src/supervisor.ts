// Composition of the supervising process: builds everything from what is there already, connects what tells each other
// in the other direction, starts it so that what is on disk is served before any network is needed, and stops it in the
// reverse order.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { Command, CommandResult, Desired } from '@edgeloop/shared/messages';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { endLeftoverOf } from '@edgeloop/shared/node/leftover-process';
import { lockDataFolder } from '@edgeloop/shared/node/lock';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { readCount, readFact, writeFact } from './database/facts.ts';
import { type DeviceDatabase, openDatabase } from './database/open.ts';
import { deviceFacts } from './identity/device-facts.ts';
import { type LinkHandlers, Membership } from './link/membership.ts';
import { ModelDriver } from './models/rollout/model-driver.ts';
import { createStateStore } from './models/rollout/state-store.ts';
import { createModelStore } from './models/store.ts';
import { proveModel } from './models/trying/prove.ts';
import { createQuarantine } from './models/trying/quarantine.ts';
import { createTuner } from './models/trying/tuning.ts';
import { servingEnvironment } from './process/environment.ts';
import { createListener } from './process/listening-sockets.ts';
import { servingModulePath } from './process/serving-life.ts';
import { type ServingHandlers, ServingProcess } from './process/serving-process.ts';
import { createTelemetry } from './telemetry/telemetry.ts';

interface Ground {
  config: Config;
  database: DeviceDatabase;
  /** Of the serving process. */
  pidPath: string;
  log: Logger;
}

type Agent = ReturnType<typeof build>;

/**
 * Runs the agent until `signal` aborts, then drains.
 * @throws AppError `conflict` for a data folder or port in use, `forbidden` when enrolment is refused
 */
export async function runSupervisor(config: Config, log: Logger, signal: AbortSignal): Promise<void> {
  const lock = lockDataFolder({
    folder: config.dataDir,
    file: 'agent.lock',
    owner: 'agent',
    variable: 'EDGELOOP_AGENT_DATA_DIR',
  });
  const database = openDatabase(join(config.dataDir, 'agent.db'), log);
  try {
    const pidPath = join(config.dataDir, 'serving.pid');
    await endLeftoverOf(pidPath, {
      marks: [servingModulePath, config.dataDir],
      onFound: (pid) => log.warn({ pid }, 'a serving process of an earlier agent is still there and is killed'),
    });
    const cleanStop = readFact(database, 'clean_stop') === 'yes';
    writeFact(database, 'clean_stop', 'no');
    await live({ config, database, pidPath, log }, cleanStop, signal);
    writeFact(database, 'clean_stop', 'yes');
  } finally {
    database.$client.close();
    lock.release();
  }
}

async function live(ground: Ground, cleanStop: boolean, signal: AbortSignal): Promise<void> {
  const agent = build(ground);
  const work = new AbortController();
  try {
    await start(agent, { cleanStop, work: work.signal, log: ground.log });
    await stayJoined(agent, AbortSignal.any([signal, work.signal]), ground.log);
  } finally {
    work.abort();
    await stop(agent);
  }
}

/** Each part from what is there already; nothing runs yet. */
function build({ config, database, pidPath, log }: Ground) {
  const { dataDir, prove } = config;
  const facts = deviceFacts();
  const store = createModelStore(join(dataDir, 'models'));
  const membership = new Membership({ ...config, folder: join(dataDir, 'identity'), log });
  const serving = new ServingProcess({
    marker: dataDir,
    pidPath,
    ...servingEnvironment(config, { stateDir: dataDir, journalled: true }),
    callTimeoutMs: Math.max(2 * prove.timeoutMs, 30_000),
    silenceMs: config.silenceMs,
    maxRssBytes: config.maxRssBytes,
    log,
  });
  const telemetry = createTelemetry({
    ...config,
    database,
    log,
    folderOf: store.folderOf,
    switchJournal: (path) => serving.journal(path),
    publish: (batch) => membership.publishTelemetry(batch),
    port: () => membership.port,
  });
  const tuner = createTuner({ ...config, bounds: prove, database, cpuModel: facts.cpuModel, log });
  const models = new ModelDriver({
    states: createStateStore(database, log),
    store,
    serving,
    source: () => sourceOf(membership, store),
    prove: (model, signal) => proveModel(model, prove, signal),
    tuningOf: tuner.tuningOf,
    tune: tuner.tune,
    quarantine: createQuarantine(database, Date.now),
    probationMs: config.probationMs,
    log,
    onChange: () => membership.reportSoon(),
  });
  const listener = createListener({ ...config, onConnection: (socket) => serving.hand(socket) });
  return { config, database, facts, membership, serving, telemetry, models, listener, startedAt: Date.now() };
}

/** Where releases are fetched from and checked with. */
function sourceOf({ port, fleetKey }: Membership, store: ReturnType<typeof createModelStore>) {
  return port === undefined || fleetKey === undefined ? undefined : { port, store, fleetKey };
}

/** Connects the serving process with what decides and records for it. */
function servingHandlers({ models, telemetry }: Agent): ServingHandlers {
  return {
    async restore() {
      await telemetry.opened();
      await models.restore();
    },
    settled: async () => undefined,
    async onDied(death) {
      // Judged first: the next start must not wait for the telemetry of the last.
      models.servingDied(death);
      await telemetry.recover();
    },
    onModelDied: (suspect, detail) => models.modelDied(suspect, detail),
    onCounts: (counts) => models.update(counts),
    onFeedback: telemetry.feedback,
    async onRepository() {
      throw new AppError(
        'unsupported',
        'this agent belongs to a fleet: its control plane decides which models run here',
      );
    },
  };
}

/** Connects the control plane with what it decides about, and is told of. */
function linkHandlers(agent: Agent, log: Logger): LinkHandlers {
  const { database, facts, models, startedAt, telemetry } = agent;
  return {
    report: () => ({
      generation: readCount(database, 'desired'),
      models: models.report(),
      facts,
      startedAt,
      reportedAt: Date.now(),
      outbox: telemetry.status(),
    }),
    onConnected: () => telemetry.connected(),
    onDesired: (desired) => follow(agent, desired, log),
    onAcknowledged: (ack) => telemetry.acknowledged(ack),
    onCommand: (command) => obey(agent, command),
  };
}

function follow({ database, models, membership }: Agent, desired: Desired, log: Logger): void {
  const known = readCount(database, 'desired');
  if (desired.generation < known) {
    // A restored control plane: shown as conflicting there, not followed back.
    log.warn({ generation: desired.generation, known }, 'what is desired is older than what was already seen');
    return;
  }
  if (desired.generation > known) writeFact(database, 'desired', desired.generation);
  models.setDesired(desired);
  membership.reportSoon();
}

async function obey({ facts, telemetry }: Agent, { id, name }: Command): Promise<CommandResult> {
  if (name === 'flush') await telemetry.flush();
  return { id, ok: true, message: name === 'flush' ? 'the present windows are closed' : `agent ${facts.agentVersion}` };
}

async function start(
  agent: Agent,
  { cleanStop, work, log }: { cleanStop: boolean; work: AbortSignal; log: Logger },
): Promise<void> {
  const { config, listener, models, serving, telemetry } = agent;
  await telemetry.recover();
  await models.start(work, cleanStop);
  const port = await listener.start();
  serving.start(servingHandlers(agent));
  telemetry.start(work);
  const address = { pid: process.pid, host: config.host, port, socketPath: config.socketPath };
  writeDurablySync(addressPath(config), `${JSON.stringify(address)}\n`);
  log.info(address, 'listening');
}

/** Until `signal` aborts; what is served does not wait for the network. @throws AppError when the fleet refuses */
async function stayJoined(agent: Agent, signal: AbortSignal, log: Logger): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const joined = agent.membership.join(linkHandlers(agent, log), signal).then(
    () => stopped,
    (error: unknown) => {
      if (!signal.aborted) throw error;
    },
  );
  await Promise.race([joined, stopped]);
}

async function stop({ config, listener, membership, models, serving, telemetry }: Agent): Promise<void> {
  listener.close();
  await models.close();
  await serving.stop(config.drainMs);
  await telemetry.close();
  await membership.close();
  rmSync(addressPath(config), { force: true });
}

function addressPath({ dataDir }: Config): string {
  return join(dataDir, 'agent.json');
}
