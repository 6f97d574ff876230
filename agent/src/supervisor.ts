// Composition of the supervising process: builds everything from what is there already, connects what tells each other
// in the other direction, starts it so that what is on disk is served before any network is needed, and stops it in the
// reverse order.
import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { Command, CommandResult, Desired, Reported } from '@edgeloop/shared/messages';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { readFact, writeFact } from './database/facts.ts';
import { type DeviceDatabase, openDatabase } from './database/open.ts';
import { deviceFacts } from './identity/device-facts.ts';
import { type LinkHandlers, Membership } from './link/membership.ts';
import { createFileCheck } from './models/file-check.ts';
import { createLocalHold, type LocalHold } from './models/hold.ts';
import { createBandwidth } from './models/rollout/bandwidth.ts';
import { ModelDriver } from './models/rollout/model-driver.ts';
import { Orders } from './models/rollout/orders.ts';
import { createShortage, machineOf } from './models/rollout/shortage.ts';
import { createStateStore } from './models/rollout/state-store.ts';
import { createModelStore } from './models/store.ts';
import { createAbilities } from './models/trying/abilities.ts';
import { proveModel } from './models/trying/prove.ts';
import { createQuarantine } from './models/trying/quarantine.ts';
import { createTuner } from './models/trying/tuning.ts';
import { Problems } from './problems.ts';
import { servingOptions } from './process/environment.ts';
import { createDoors } from './process/listening-sockets.ts';
import { endLeft } from './process/pid-file.ts';
import { placesIn } from './process/places.ts';
import { openScratchFolder } from './process/scratch-folder.ts';
import { servingModulePath } from './process/serving-life.ts';
import type { ServingHandlers } from './process/serving-process.ts';
import { ServingProcesses } from './process/serving-processes.ts';
import { lockUnlessRefused, tidyDataFolder } from './storage/data-folder.ts';
import { PendingWrites } from './storage/pending-writes.ts';
import { createReserve } from './storage/reserve.ts';
import { makeMissingNote } from './telemetry/missing-note.ts';
import { createTelemetry } from './telemetry/telemetry.ts';

interface Ground {
  config: Config;
  /** Where what runs keeps its files: the data folder, or a temporary one where that cannot be written. */
  home: string;
  database: DeviceDatabase;
  writes: PendingWrites;
  problems: Problems;
  /** It was stopped in order the last time. */
  cleanStop: boolean;
  log: Logger;
}

type Agent = ReturnType<typeof build>;

/**
 * Runs the agent until `signal` aborts, then drains.
 * @throws AppError `conflict` for a data folder or port in use, `forbidden` when enrolment is refused, `invalid_request` without isolation
 */
export async function runSupervisor(config: Config, log: Logger, signal: AbortSignal): Promise<void> {
  const { dataDir } = config;
  if (!config.isolation)
    throw new AppError(
      'invalid_request',
      'EDGELOOP_ISOLATION=off is for "serve": a fleet\'s models run in a process of their own',
    );
  const problems = new Problems(log);
  tidyDataFolder(dataDir, problems);
  const lock = lockUnlessRefused(dataDir, problems);
  const path = join(dataDir, 'agent.db');
  const database = openDatabase(path, log, { problems });
  const reserve = createReserve(join(dataDir, 'reserve.bin'));
  const writes = new PendingWrites({ folder: dataDir, reserve, problems, log });
  const scratch = database.$client.name === path ? undefined : await openScratchFolder(log);
  try {
    const home = scratch?.path ?? dataDir;
    const places = placesIn(home, config.servingProcesses);
    for (const { pidPath } of places) await endLeft(pidPath, [servingModulePath, home], log);
    reserve.make();
    const cleanStop = readFact(database, 'clean_stop') === 'yes';
    writes.write('clean_stop', () => writeFact(database, 'clean_stop', 'no'));
    // Whatever ended it: everything was stopped in its order, and no model brought that about.
    await live({ config, home, database, writes, problems, cleanStop, log }, signal).finally(() =>
      writes.write('clean_stop', () => writeFact(database, 'clean_stop', 'yes')),
    );
  } finally {
    writes.close();
    database.$client.close();
    scratch?.remove();
    lock.release();
  }
}

async function live(ground: Ground, signal: AbortSignal): Promise<void> {
  const agent = build(ground);
  const work = new AbortController();
  try {
    await start(agent, { cleanStop: ground.cleanStop, work: work.signal, log: ground.log });
    await stayJoined(agent, AbortSignal.any([signal, work.signal]));
  } finally {
    work.abort();
    await stop(agent);
  }
}

/** Each part from what is there already; nothing runs yet. */
function build({ config, home, database, writes, problems, cleanStop, log }: Ground) {
  const { dataDir, prove } = config;
  const notePaths = placesIn(home, config.servingProcesses).map(({ missingNotePath }) => missingNotePath);
  for (const path of notePaths) writes.write(basename(path), () => makeMissingNote(path));
  const facts = deviceFacts();
  const store = createModelStore(join(dataDir, 'models'));
  const membership = new Membership({
    ...config,
    folder: join(dataDir, 'identity'),
    writes,
    problems,
    serves: () => models.report().length > 0,
    log,
  });
  const serving = new ServingProcesses(servingOptions(config, { stateDir: home, journalled: true, writes, log }));
  const telemetry = createTelemetry({
    ...config,
    dataDir: home,
    cleanStop,
    notePaths,
    database,
    writes,
    problems,
    log,
    folderOf: store.folderOf,
    switchJournal: (path, process) => serving.journal(path, process),
    publish: (batch) => membership.publishTelemetry(batch),
    onLost: () => serving.tellLost(telemetry.lost()),
    port: () => membership.port,
  });
  const tuner = createTuner({ ...config, bounds: prove, database, writes, cpuModel: facts.cpuModel, log });
  const bandwidth = createBandwidth(config.bandwidthKbps);
  const abilities = createAbilities(facts);
  const hold = createLocalHold({
    stored: {
      read: () => readFact(database, 'hold'),
      write: (text) => void writes.write('hold', () => writeFact(database, 'hold', text)),
    },
    lockFile: config.holdFile,
    nowMs: Date.now,
  });
  const models = new ModelDriver({
    states: createStateStore(database, writes, log),
    store,
    serving,
    // What is on disk is checked without waiting for the way to the control plane.
    source: () => ({ port: membership.port, trustedKeys: membership.trustedKeys, bandwidth, abilities }),
    fileCheck: createFileCheck(log),
    prove: (model, signal, measure) => {
      serving.expectNewModel();
      return proveModel(model, prove, signal, { providers: config.providers, measure });
    },
    tuningOf: tuner.tuningOf,
    tune: tuner.tune,
    quarantine: createQuarantine(database, writes, Date.now),
    probationMs: config.probationMs,
    rerunGolden: ({ name, version }) => serving.rerunGolden(name, version),
    hold: () => hold.present(),
    shortage: createShortage(machineOf(dataDir)),
    log,
    onChange: () => membership.reportSoon(),
  });
  const listener = createDoors(config, (socket, protocol) => serving.hand(socket, protocol));
  problems.onChange(() => {
    membership.reportSoon();
    serving.tellProblems(problems.list());
  });
  const parts = { facts, hold, membership, serving, telemetry, models, listener };
  return {
    config,
    database,
    writes,
    problems,
    ...parts,
    orders: new Orders({ database, writes, log }),
    startedAt: Date.now(),
  };
}

/** Connects a serving process with what decides and records for it. */
function servingHandlers(
  { hold, membership, models, problems, serving, telemetry }: Agent,
  process: number,
): ServingHandlers {
  return {
    async restore(letIn) {
      serving.tellProblems(problems.list());
      serving.tellLost(telemetry.lost());
      await telemetry.opened(process);
      await models.restore(letIn, process);
    },
    settled: async () => undefined,
    async onDied(death) {
      try {
        // Judged first: the next start must not wait for the telemetry of the last.
        models.servingDied(death, process);
      } finally {
        await telemetry.recover(process);
      }
    },
    onModelDied: (suspect, end) => models.modelDied(suspect, end, process),
    onCounts(counts, missing) {
      models.update(counts, process);
      telemetry.missing(missing, process);
    },
    onFeedback: telemetry.feedback,
    async onHold(wish) {
      if (wish.action === 'set') hold.set(wish.request);
      if (wish.action === 'clear') hold.clear();
      if (wish.action !== 'tell') membership.reportSoon();
      return hold.present();
    },
    async onRepository() {
      throw new AppError(
        'unsupported',
        'this agent belongs to a fleet: its control plane decides which models run here',
      );
    },
  };
}

/** Connects the control plane with what it decides about, and is told of. */
function linkHandlers(agent: Agent): LinkHandlers {
  const { facts, hold, membership, models, problems, startedAt, telemetry } = agent;
  return {
    report: () => ({
      ...standing(hold.present(), membership.keysSerial, membership.clock),
      generation: agent.orders.generation,
      models: models.report(),
      facts,
      startedAt,
      reportedAt: Date.now(),
      outbox: telemetry.status(),
      usage: telemetry.usage(),
      problems: problems.list().map(({ words }) => words),
    }),
    onConnected: () => telemetry.connected(),
    onSent: (bytes) => telemetry.sent(bytes),
    onClock: ({ offsetMs }) => telemetry.clockRead(offsetMs),
    onDesired: (desired) => follow(agent, desired),
    onAcknowledged: (ack) => telemetry.acknowledged(ack),
    onCommand: (command) => obey(agent, command),
  };
}

/** What the device says of itself beside its models. */
function standing(
  hold: ReturnType<LocalHold['present']>,
  serial: number | undefined,
  clock: Reported['clock'],
): Pick<Reported, 'hold' | 'releaseKeys' | 'clock'> {
  return {
    ...(hold === undefined ? {} : { hold: { until: hold.untilMs ?? null, reason: hold.reason } }),
    ...(serial === undefined ? {} : { releaseKeys: { serial } }),
    ...(clock === undefined ? {} : { clock }),
  };
}

function follow({ models, membership, orders }: Agent, desired: Desired): void {
  const order = membership.heed(desired);
  if (!orders.take(order)) return;
  models.setDesired(order);
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
  const { config, listener, models, problems, serving, telemetry, writes } = agent;
  await telemetry.recover();
  await models.start(work, cleanStop);
  const ports = await listener.start();
  serving.start((process) => servingHandlers(agent, process));
  telemetry.start(work);
  const address = { pid: process.pid, host: config.host, ...ports, socketPath: config.socketPath };
  const tell = () =>
    writes.write('agent.json', () => {
      const text = JSON.stringify({ ...address, problems: problems.list() });
      writeDurablySync(addressPath(config), `${text}\n`, 0o600);
    });
  tell();
  problems.onChange(tell);
  log.info(address, 'listening');
}

/** Until `signal` aborts; what is served does not wait for the network. @throws AppError when the fleet refuses */
async function stayJoined(agent: Agent, signal: AbortSignal): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const joined = agent.membership.join(linkHandlers(agent), signal).then(
    () => stopped,
    (error: unknown) => {
      if (!signal.aborted) throw error;
    },
  );
  await Promise.race([joined, stopped]);
}

async function stop({ config, listener, membership, models, serving, telemetry, writes }: Agent): Promise<void> {
  listener.close();
  await models.close();
  await serving.stop(config.drainMs);
  await telemetry.close();
  await membership.close();
  writes.write('agent.json', () => rmSync(addressPath(config), { force: true }));
}

function addressPath({ dataDir }: Config): string {
  return join(dataDir, 'agent.json');
}
