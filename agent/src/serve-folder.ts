// `edgeloop-agent serve DIR`: a stand-alone inference server on a folder of models, with the same serving process and
// no control plane; telemetry windows are not kept.
import { watch } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { createBell } from '@edgeloop/shared/node/bell';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { openDatabase } from './database/open.ts';
import { cpuModel } from './identity/device-facts.ts';
import { FolderModels } from './models/folder/folder.ts';
import { createProofs } from './models/trying/proofs.ts';
import { proveModel } from './models/trying/prove.ts';
import { createQuarantine } from './models/trying/quarantine.ts';
import { createTuner } from './models/trying/tuning.ts';
import { Problems } from './problems.ts';
import { servingConfig, servingOptions } from './process/environment.ts';
import { ServingConfig, type ToSupervisor } from './process/ipc.ts';
import { createDoors } from './process/listening-sockets.ts';
import { readLocalTokens } from './process/local-tokens.ts';
import { openScratchFolder, type ScratchFolder } from './process/scratch-folder.ts';
import { ServingHere } from './process/serving-here.ts';
import type { ServingHandlers } from './process/serving-process.ts';
import { ServingProcesses } from './process/serving-processes.ts';
import { PendingWrites } from './storage/pending-writes.ts';
import { createReserve } from './storage/reserve.ts';

/** A change shows itself within this even where the system tells nothing of it. */
const lookEveryMs = 2000;
/** A file that looks the same after this is taken for whole. */
const settleMs = 400;

/**
 * Serves the models in `folder`, and follows its changes, until `signal` aborts, then drains.
 * @throws AppError `not_found` when there is no such folder
 */
export async function serveFolder(folder: string, config: Config, log: Logger, signal: AbortSignal): Promise<void> {
  const scratch = await openScratchFolder(log);
  const problems = new Problems(log);
  const reserve = createReserve(join(config.dataDir, 'serve.reserve'));
  const writes = new PendingWrites({ folder: config.dataDir, reserve, problems, log });
  const database = openLearnt(config, scratch, { problems, log });
  try {
    const here = config.isolation ? undefined : await prepareHere();
    const server = build({ folder: resolve(folder), config, scratch, database, problems, writes, here, log });
    try {
      await run(server, signal);
    } finally {
      await stop(server);
    }
  } finally {
    writes.close();
    database.$client.close();
    scratch.remove();
  }
}

/** What was learnt about model files: of use to the next start, not needed by it. */
function openLearnt({ dataDir }: Config, scratch: ScratchFolder, { problems, log }: Told) {
  try {
    return openDatabase(join(dataDir, 'serve.db'), log, { problems, shared: true });
  } catch (error) {
    log.warn({ dataDir, reason: messageOf(error) }, 'what is learnt about the models is forgotten at the end');
    return openDatabase(join(scratch.path, 'serve.db'), log);
  }
}

interface Told {
  problems: Problems;
  log: Logger;
}

interface Ground {
  folder: string;
  config: Config;
  scratch: ScratchFolder;
  database: ReturnType<typeof openDatabase>;
  problems: Problems;
  writes: PendingWrites;
  /** Set where models run in this very process. */
  here: Here | undefined;
  log: Logger;
}

type Server = ReturnType<typeof build>;

type Here = Awaited<ReturnType<typeof prepareHere>>;

/** Loads what serves into this process. */
async function prepareHere() {
  // As for a serving process: ONNX Runtime asks for it when it is loaded.
  process.env.ORT_DISABLE_TELEMETRY = '1';
  const { createServingCore } = await import('./serving-core.ts');
  return (config: Config, state: { stateDir: string; journalled: boolean; overridesDir: string; log: Logger }) => {
    const tokens = readLocalTokens(config);
    // Nobody is left to read what ran when this process ended.
    const given = { ...servingConfig(config, { ...state, tokens, process: 0 }), runningNotePath: undefined };
    const parsed = ServingConfig.parse(given);
    return (send: (message: ToSupervisor) => void) => createServingCore(parsed, state.log, send);
  };
}

/** Each part from what is there already; nothing runs yet. */
function build({ folder, config, scratch, database, problems, writes, here, log }: Ground) {
  const work = new AbortController();
  const { prove } = config;
  const tuner = createTuner({ ...config, bounds: prove, database, writes, cpuModel: cpuModel(), log });
  const proofs = createProofs(database, writes);
  const overridesDir = join(scratch.path, 'overrides');
  const state = { stateDir: scratch.path, journalled: false, overridesDir, writes, log };
  const serving = here
    ? new ServingHere({ create: here(config, state), log })
    : new ServingProcesses(servingOptions(config, state));
  const rounds = new Rounds(folder, log);
  const models = new FolderModels({
    folder,
    serving,
    prove: (model) =>
      proofs.once(model, async () => {
        serving.expectNewModel();
        return (await proveModel(model, prove, work.signal, config)).failure;
      }),
    async tuned(model, replaces) {
      if (replaces) await tuner.tune(model, work.signal);
      const tuning = tuner.tuningOf(model.digest ?? '');
      return tuning === undefined ? model : { ...model, tuning };
    },
    quarantine: createQuarantine(database, writes, Date.now),
    log,
    lookSoon: () => rounds.soon(),
  });
  const listener = createDoors(config, (socket, protocol) => serving.hand(socket, protocol));
  problems.onChange(() => serving.tellProblems(problems.list()));
  return { config, work, serving, rounds, models, problems, listener, log };
}

/** Connects a serving process with what decides for it. */
function servingHandlers({ models, problems, serving }: Server, process: number): ServingHandlers {
  return {
    restore(letIn) {
      serving.tellProblems(problems.list());
      return models.restore(letIn, process);
    },
    settled: () => models.settled(),
    onDied: async (death) => models.servingDied(death, process),
    onModelDied: (suspect, end) => models.modelDied(suspect, end),
    onCounts: (counts) => models.update(counts, process),
    onFeedback: async () => {
      throw new AppError('unsupported', 'feedback needs a control plane; this server was started with "serve"');
    },
    async onHold() {
      throw new AppError('unsupported', 'nothing is rolled out to this server, so there is nothing to hold back');
    },
    onRepository: (action, name, override) => models.control(action, name, override),
  };
}

async function run(server: Server, signal: AbortSignal): Promise<void> {
  const { config, listener, log, models, rounds, serving } = server;
  const ports = await listener.start();
  log.info({ host: config.host, ...ports, socketPath: config.socketPath }, 'listening');
  serving.start((process) => servingHandlers(server, process));
  await models.look();
  await rounds.run(() => models.look(), signal);
}

async function stop({ config, listener, serving, work }: Server): Promise<void> {
  work.abort();
  listener.close();
  await serving.stop(config.drainMs);
}

/** Looks when the system tells of a change, when asked to, and now and then. */
class Rounds {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #bell = createBell();

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  soon(): void {
    setTimeout(() => this.#bell.ring(), settleMs).unref();
  }

  async run(look: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const watcher = watchFolder(this.#folder, () => this.soon(), this.#log);
    while (!signal.aborted) {
      await this.#bell.rest(lookEveryMs, signal);
      this.#bell.answer();
      if (signal.aborted) break;
      await look().catch((error: unknown) =>
        this.#log.error({ reason: messageOf(error) }, 'the folder is looked at later'),
      );
    }
    watcher?.close();
  }
}

/** Not every file system tells of changes; then the rounds do. */
function watchFolder(folder: string, onChange: () => void, log: Logger) {
  const silent = (error: unknown) => log.debug({ reason: messageOf(error) }, 'changes are found by looking');
  const changed = (_event: string, path: string | null) => {
    // Beside the models there may be files of others; the agent's own data folder, for one.
    if (path === null || ModelName.safeParse(path.split(sep)[0]).success) onChange();
  };
  try {
    return watch(folder, { recursive: true }, changed).on('error', silent);
  } catch (error) {
    silent(error);
    return undefined;
  }
}
