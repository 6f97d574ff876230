// What serves: local HTTP and the models' worker threads. Whoever decides what it serves hands it sockets and models in messages,
// and is told of what it needs to know. Most of the time that is another process, see `serving.ts`.
import { Socket } from 'node:net';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import { createEngine, type Engine } from './inference/engine.ts';
import { rerunGolden } from './inference/golden-again.ts';
import type {
  ForwardedCall,
  ForwardedReply,
  LostCounts,
  ModelFiles,
  ServingConfig,
  ToServing,
  ToSupervisor,
} from './process/ipc.ts';
import { createTokenCheck } from './server/access.ts';
import type { AppDeps } from './server/app.ts';
import { createDeviceFigures, type DeviceFigures } from './server/device-figures.ts';
import { createFeedbackChannel, type FeedbackChannel } from './server/feedback.ts';
import { type AnswerGrpc, answerForwarded, failureOf } from './server/forwarded.ts';
import { createFront } from './server/front.ts';
import { createListener, type Listener } from './server/handed-sockets.ts';
import { createHoldChannel, type HoldChannel } from './server/hold.ts';
import { createKnownModels, type KnownModels } from './server/known-models.ts';
import { createLimits } from './server/limits.ts';
import type { MetricSources, ServingMetrics } from './server/metrics.ts';
import { createNeighbours, type Neighbours } from './server/neighbours.ts';
import { createObserver, type Observer } from './server/observation.ts';
import { createRepositoryChannel, type RepositoryChannel } from './server/repository.ts';
import { createRequestLog } from './server/request-log.ts';
import { createSequences, type Sequences } from './server/sequences.ts';
import { createShadows } from './server/shadows.ts';
import { createVisitorCheck } from './server/visitors.ts';
import { isStorageRefusal } from './storage/refusal.ts';
import { createRecordWriter, type RecordWriter } from './telemetry/record-writer.ts';

interface Serving {
  engine: Engine;
  known: KnownModels;
  sequences: Sequences;
  journal: RecordWriter;
  feedback: FeedbackChannel;
  hold: HoldChannel;
  repository: RepositoryChannel;
  /** Undefined where this is the only serving process. */
  neighbours: Neighbours | undefined;
  metrics: ServingMetrics;
  figures: DeviceFigures;
  listener: Listener;
  /** Undefined where it is switched off. */
  grpc: Promise<Listener> | undefined;
  observer: Observer;
  log: Logger;
  send: Send;
  /** Answers what another process has forwarded. */
  answer(call: ForwardedCall): Promise<ForwardedReply>;
  setReady(): void;
  setProblems(problems: readonly Problem[]): void;
  setLost(lost: LostCounts): void;
}

type Problem = Extract<ToServing, { kind: 'problems' }>['problems'][number];

/** Bound, not wrapped: every request asks it several times. */
const nowMs = performance.now.bind(performance);

/** The thread of the first model starts while that is still looked at and proven, and ends if none comes. */
const firstModelMs = 10_000;

type Send = (message: ToSupervisor) => void;

function engineOf(config: ServingConfig, log: Logger, send: Send): Engine {
  return createEngine({
    threads: config.threads,
    providers: config.providers,
    quickRuns: config.quickRuns,
    runningNotePath: config.runningNotePath,
    maxRssBytes: config.maxRssBytes,
    onStuck: (model) => send({ kind: 'stuck', ...model }),
    onModelDied: (model, error) => {
      const crashed = !(error instanceof AppError && error.code === 'unavailable');
      send({ kind: 'model_died', ...model, detail: error.message, crashed });
    },
    onNotHere: (model, error) => log.warn({ ...model, err: error }, 'a quick model runs in worker threads only'),
    onCrash: (model, error) => log.error({ ...model, err: error }, 'a worker thread died'),
  });
}

function compose(config: ServingConfig, engine: Engine, { log, send }: { log: Logger; send: Send }): Serving {
  const journal = createRecordWriter({
    nowMs,
    notePath: config.missingNotePath,
    onFailure: (error) => log.error({ err: error }, 'the telemetry journal cannot be written; answers go on'),
  });
  let problems: readonly Problem[] = [];
  let lost: LostCounts = [];
  const { place, of: count } = config.process;
  const neighbours = count > 1 ? createNeighbours({ process: place, count }, send) : undefined;
  const append = config.journalled ? journal.append : undefined;
  const observer = createObserver({ append, now: Date.now, nowMs });
  const shadows = createShadows({ append, now: Date.now, nowMs });
  const figures = createDeviceFigures({ engine, observer, journal: journal.status, neighbours });
  const ownPlace = neighbours && place;
  const metrics = metricsWhenAsked({ figures, engine, place: ownPlace, problems: () => problems, lost: () => lost });
  const feedback = createFeedbackChannel(send);
  const hold = createHoldChannel(send);
  const repository = createRepositoryChannel(send);
  const known = createKnownModels(engine);
  let ready = false;
  const sequences = createSequences({ engine: known.engine, nowMs });
  const deps: AppDeps = {
    engine: known.engine,
    sequences,
    neighbours,
    figures,
    arrivals: known.arrivals,
    shadows,
    notLoaded: known.list,
    misplaced: known.misplaced,
    observer,
    metrics,
    feedback,
    hold,
    repository,
    overridesDir: config.overridesDir,
    nowMs,
    isReady: () => ready && allActive(engine),
    agentVersion: config.agentVersion,
    serverName: config.serverName,
    checkToken: createTokenCheck({ tokens: config.tokens, nowMs, takeElsewhere: neighbours?.takeToken }),
    checkVisitor: createVisitorCheck(config),
    logLevel: config.logLevel,
    log: createRequestLog(log),
    onUnexpected: (error) => log.error({ err: error }, 'a request failed'),
  };
  const limits = createLimits();
  const setReady = (): void => {
    ready = true;
  };
  const setProblems = (present: readonly Problem[]): void => {
    problems = present;
  };
  const setLost = (present: LostCounts): void => {
    lost = present;
  };
  const listener = createListener(createFront(deps, limits), { plain: config.plainHttp });
  // Whoever does not switch it on loads nothing of it.
  const grpc = config.grpc
    ? import('./server/grpc/listener.ts').then((room) => room.createGrpcListener(deps, limits))
    : undefined;
  const answerGrpc: AnswerGrpc = async (call) => {
    const room = await import('./server/grpc/forwarded.ts');
    return room.createForwardedAnswers(deps, limits)(call);
  };
  // Who waits for a model is told when it comes.
  return {
    engine: known.engine,
    known,
    sequences,
    journal,
    feedback,
    hold,
    repository,
    neighbours,
    metrics,
    figures,
    observer,
    log,
    send,
    answer: (call) => answerForwarded(deps, limits, call, answerGrpc),
    setReady,
    setProblems,
    setLost,
    listener,
    grpc,
  };
}

/** A version may be warm beside the active one, but every model must have an active one. */
function allActive(engine: Engine): boolean {
  const loaded = engine.list();
  return loaded.every(({ name }) => loaded.some((other) => other.name === name && other.active));
}

/** Resolves when it is done; `stop` when all is. */
async function handle(serving: Serving, message: ToServing, socket: unknown): Promise<void> {
  const { engine, journal } = serving;
  switch (message.kind) {
    case 'begin':
      return; // Read by whoever began this.
    case 'connection':
      // The caller may have gone meanwhile.
      if (socket instanceof Socket) await accept(serving, message, socket);
      return;
    case 'load':
      return replyTo(serving, message.requestId, () => load(serving, message.model));
    case 'activate':
      return replyTo(serving, message.requestId, async () => engine.activate(message.name, message.version));
    case 'unload':
      return replyTo(serving, message.requestId, () => unload(serving, message.name, message.version));
    case 'rerun_golden':
      return replyTo(serving, message.requestId, () => rerunGolden(engine, message.name, message.version));
    case 'attach':
      return replyTo(serving, message.requestId, () => engine.attach(message.model, message.how));
    case 'detach':
      return replyTo(serving, message.requestId, () => engine.detach(message.name));
    case 'journal':
      return replyTo(serving, message.requestId, () => journal.switchTo(message.path));
    case 'ready':
      return serving.setReady();
    case 'problems':
      return serving.setProblems(message.problems);
    case 'lost':
      return serving.setLost(message.lost);
    case 'known':
      return serving.known.set(message.models, message.misplaced);
    case 'hold_result':
      return serving.hold.settle(message);
    case 'feedback_result':
      return serving.feedback.settle(message);
    case 'repository_result':
      return serving.repository.settle(message);
    case 'tell_figures':
      return tellFigures(serving, message.requestId);
    case 'forwarded_call':
      return answerOf(serving, message);
    case 'figures_result':
    case 'tokens_result':
    case 'forward_result':
      return serving.neighbours?.settle(message);
    case 'stop':
      return stop(serving);
  }
}

/** A device that nobody scrapes has no use for the library. */
function metricsWhenAsked(sources: MetricSources): ServingMetrics {
  let made: Promise<ServingMetrics> | undefined;
  const metrics = (): Promise<ServingMetrics> => {
    made ??= import('./server/metrics.ts').then((room) => room.createMetrics(sources));
    return made;
  };
  return { expose: async () => (await metrics()).expose(), process: async () => (await metrics()).process() };
}

async function tellFigures({ figures, metrics, send }: Serving, requestId: number): Promise<void> {
  send({ kind: 'figures', requestId, own: { ...figures.own(), process: await metrics.process() } });
}

async function answerOf(
  { answer, send }: Serving,
  { requestId, call }: Extract<ToServing, { kind: 'forwarded_call' }>,
): Promise<void> {
  try {
    send({ kind: 'forwarded', requestId, reply: await answer(call) });
  } catch (error) {
    send({ kind: 'forwarded', requestId, error: failureOf(error) });
  }
}

async function load({ engine, log }: Serving, files: ModelFiles): Promise<void> {
  await engine.load(files);
  const { name, version } = files;
  const loaded = engine.list().find((each) => each.name === name && each.version === version);
  const { batchable, joining } = loaded?.model.runtime ?? {};
  if (joining !== undefined)
    log.info(
      { model: name, version, joining },
      batchable ? 'loaded; requests may share runs' : 'loaded; requests run one by one',
    );
}

/** No new request gets it; sequences on it may come to their end. */
async function unload({ engine, sequences }: Serving, name: string, version: number): Promise<void> {
  await Promise.all([engine.unload(name, version), sequences.leaving(name, version)]);
}

async function accept(
  { listener, grpc }: Serving,
  { protocol, head }: Extract<ToServing, { kind: 'connection' }>,
  socket: Socket,
): Promise<void> {
  if (protocol === undefined) return listener.accept(socket, head);
  if (grpc === undefined) return void socket.destroy();
  (await grpc).accept(socket, head);
}

async function replyTo({ log, send }: Serving, requestId: number, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    send({ kind: 'reply', requestId });
  } catch (error) {
    const code = codeOf(error);
    if (code === 'internal') log.error({ err: error }, 'a request of the supervisor failed');
    send({ kind: 'reply', requestId, error: { code, message: messageOf(error) } });
  }
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof AppError) return error.code;
  return isStorageRefusal(error) ? 'insufficient_storage' : 'internal';
}

async function stop({ listener, grpc, engine, journal, known, sequences }: Serving): Promise<void> {
  known.close();
  await Promise.all([listener.drain(), grpc?.then((each) => each.drain())]);
  sequences.close();
  await engine.close();
  await journal.close();
}

function sendCounts({ engine, journal, observer, figures, neighbours, send }: Serving): void {
  journal.retry();
  const models = [...engine.list(), ...engine.besides()].map(({ name, version, model }) => {
    const { succeeded, failed } = observer.tally(model);
    return { name, version, release: model.files.release, succeeded, failed };
  });
  const counted = neighbours && figures.own();
  send({ kind: 'counts', models, missing: journal.missing(), figures: counted });
}

export interface ServingCore {
  /** Starts what the first model will need. */
  prepare(): void;
  /** Says `started`, and takes messages from now on. */
  begin(): void;
  /** Resolves when it is done: `stop` when nothing is in flight and all is closed. */
  handle(message: ToServing, socket?: unknown): Promise<void>;
}

/** Serves nothing yet; `send` gets what is told. Before `begin` nothing is touched that may be another process's. */
export function createServingCore(config: ServingConfig, log: Logger, send: Send): ServingCore {
  const engine = engineOf(config, log, send);
  let serving: Serving | undefined;
  return {
    prepare: () => engine.prepare(),
    begin() {
      const begun = compose(config, engine, { log, send });
      serving = begun;
      engine.prepare(firstModelMs);
      setInterval(() => sendCounts(begun), 1000).unref();
      send({ kind: 'started' });
    },
    async handle(message, socket) {
      if (serving !== undefined) await handle(serving, message, socket);
    },
  };
}
