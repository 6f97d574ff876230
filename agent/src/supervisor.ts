// Composition of the supervising process: builds everything, starts it so that what is on disk is served before any
// network is needed, and stops it in the reverse order.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { Command, CommandResult, Desired, Reported } from '@edgeloop/shared/messages';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { endLeftoverOf } from '@edgeloop/shared/node/leftover-process';
import { lockDataFolder } from '@edgeloop/shared/node/lock';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { readCount, readFact, writeFact } from './database/facts.ts';
import { openDatabase } from './database/open.ts';
import { agentVersion, deviceFacts } from './identity/device-facts.ts';
import { createDevicePort, type DevicePort, type TlsMaterial } from './identity/device-port.ts';
import { enrol } from './identity/enrol.ts';
import { type Identity, readIdentity } from './identity/identity.ts';
import { deviceKey } from './identity/key.ts';
import { keepRenewed } from './identity/renewal.ts';
import { createLink, type LinkCredentials } from './link/session.ts';
import { ModelDriver } from './models/rollout/model-driver.ts';
import { createStateStore } from './models/rollout/state-store.ts';
import { createModelStore } from './models/store.ts';
import { proveModel } from './models/trying/prove.ts';
import { createQuarantine } from './models/trying/quarantine.ts';
import { createTuner } from './models/trying/tuning.ts';
import { servingEnvironment } from './process/environment.ts';
import { createListener } from './process/listening-sockets.ts';
import { createServingProcess, servingModulePath } from './process/serving-process.ts';
import { createTelemetry } from './telemetry/telemetry.ts';

const linkCloseMs = 2000;

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
    const agent = compose(config, log, database, pidPath);
    try {
      await agent.run(signal, cleanStop);
    } finally {
      await agent.stop();
    }
    writeFact(database, 'clean_stop', 'yes');
  } finally {
    database.$client.close();
    lock.release();
  }
}

function compose(config: Config, log: Logger, database: ReturnType<typeof openDatabase>, pidPath: string) {
  const identityFolder = join(config.dataDir, 'identity');
  const addressPath = join(config.dataDir, 'agent.json');
  const startedAt = Date.now();
  const facts = deviceFacts();
  const work = new AbortController();
  let identity: Identity | undefined = readIdentity(identityFolder);
  let port: DevicePort | undefined;
  let renewal: Promise<void> = Promise.resolve();

  const store = createModelStore(join(config.dataDir, 'models'));
  const telemetry = createTelemetry({
    ...config,
    database,
    log,
    folderOf: store.folderOf,
    switchJournal: (path) => serving.journal(path),
    publish: (batch) => link.publishTelemetry(batch),
    port: () => port,
  });
  const serving = createServingProcess({
    marker: config.dataDir,
    pidPath,
    ...servingEnvironment(config, {
      deviceId: identity?.deviceId ?? config.deviceId,
      stateDir: config.dataDir,
      journalled: true,
    }),
    callTimeoutMs: Math.max(2 * config.prove.timeoutMs, 30_000),
    silenceMs: config.silenceMs,
    maxRssBytes: config.maxRssBytes,
    log,
    async restore() {
      await telemetry.opened();
      await activation.restore();
    },
    settled: async () => undefined,
    async onDied(death) {
      // Judged first: the next start must not wait for the telemetry of the last.
      activation.servingDied(death);
      await telemetry.recover();
    },
    onModelDied: (suspect, detail) => activation.modelDied(suspect, detail),
    onCounts: (counts) => activation.update(counts),
    onFeedback: telemetry.feedback,
    async onRepository() {
      throw new AppError(
        'unsupported',
        'this agent belongs to a fleet: its control plane decides which models run here',
      );
    },
  });
  const tuner = createTuner({ ...config, bounds: config.prove, database, cpuModel: facts.cpuModel, log });
  const activation = new ModelDriver({
    states: createStateStore(database, log),
    store,
    serving,
    source: () =>
      port === undefined || identity === undefined ? undefined : { port, store, fleetKey: identity.fleetKey },
    prove: (model, signal) => proveModel(model, config.prove, signal),
    tuningOf: tuner.tuningOf,
    tune: tuner.tune,
    quarantine: createQuarantine(database, Date.now),
    probationMs: config.probationMs,
    log,
    onChange: () => link.reportSoon(),
  });
  const link = createLink({
    rereadMs: config.rereadMs,
    log,
    report: (): Reported => ({
      generation: readCount(database, 'desired'),
      models: activation.report(),
      facts,
      startedAt,
      reportedAt: Date.now(),
      outbox: telemetry.status(),
    }),
    onConnected: () => telemetry.connected(),
    onDesired,
    onAcknowledged: (ack) => telemetry.acknowledged(ack),
    onCommand,
  });
  const listener = createListener({ ...config, onConnection: (socket) => serving.hand(socket) });

  function onDesired(desired: Desired): void {
    const known = readCount(database, 'desired');
    if (desired.generation < known) {
      // A restored control plane: shown as conflicting there, not followed back.
      log.warn({ generation: desired.generation, known }, 'what is desired is older than what was already seen');
      return;
    }
    if (desired.generation > known) writeFact(database, 'desired', desired.generation);
    activation.setDesired(desired);
    link.reportSoon();
  }

  async function onCommand({ id, name }: Command): Promise<CommandResult> {
    if (name === 'flush') await telemetry.flush();
    return { id, ok: true, message: name === 'flush' ? 'the present windows are closed' : `agent ${agentVersion}` };
  }

  /** Enrols if that was not done yet, then keeps the link up. */
  async function joinFleet(signal: AbortSignal): Promise<void> {
    if (identity === undefined) {
      if (config.joinToken === undefined)
        throw new AppError(
          'invalid_request',
          'this device belongs to no fleet yet: set EDGELOOP_JOIN to a join token (edgeloop join-tokens create)',
        );
      const { joinToken, deviceId, labels } = config;
      identity = await enrol({ folder: identityFolder, joinToken, deviceId, labels, log, signal });
    }
    const member = identity;
    port = createDevicePort({ ...member.device, tls: tlsOf(member) });
    link.connect(credentialsOf(member));
    const onRenewed = (renewed: Identity) => {
      identity = renewed;
      port?.useTls(tlsOf(renewed));
      link.connect(credentialsOf(renewed));
    };
    renewal = keepRenewed(member, { folder: identityFolder, port, log, onRenewed }, signal);
  }

  function tlsOf({ caCertificate, certificate }: Identity): Required<TlsMaterial> {
    return { ca: caCertificate, cert: certificate, key: deviceKey(identityFolder) };
  }

  function credentialsOf(member: Identity): LinkCredentials {
    return { deviceId: member.deviceId, ...member.mqtt, ...tlsOf(member) };
  }

  return {
    async run(signal: AbortSignal, cleanStop: boolean): Promise<void> {
      await telemetry.recover();
      await activation.start(work.signal, cleanStop);
      const taken = await listener.start();
      const address = { pid: process.pid, host: config.host, port: taken, socketPath: config.socketPath };
      serving.start();
      telemetry.start(work.signal);
      writeDurablySync(addressPath, `${JSON.stringify(address)}\n`);
      log.info(address, 'listening');
      const stopped = new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      const joined = joinFleet(AbortSignal.any([signal, work.signal])).then(
        () => stopped,
        (error: unknown) => {
          if (!signal.aborted) throw error;
        },
      );
      await Promise.race([joined, stopped]);
    },
    async stop(): Promise<void> {
      listener.close();
      work.abort();
      await activation.close();
      await serving.stop(config.drainMs);
      await telemetry.close();
      await renewal;
      await link.close(linkCloseMs);
      await port?.close();
      rmSync(addressPath, { force: true });
    },
  };
}
