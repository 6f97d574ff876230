// The model repository extension: which versions there are, and callers' wish to load or unload a model. The supervisor
// owns the store, so it decides.
import { rm } from 'node:fs/promises';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Engine } from '../inference/engine.ts';
import type { KnownModel, LoadOverride, Misplaced, ToServing, ToSupervisor } from '../process/ipc.ts';
import { readBody } from './body.ts';
import { readOverride } from './load-override.ts';
import { createQuestions } from './questions.ts';

type RepositoryAction = 'load' | 'unload';

export interface RepositoryChannel {
  /** Resolves when the supervisor has done it; throws what it says, or `unavailable` when it says nothing. */
  change(action: RepositoryAction, name: string, override?: LoadOverride): Promise<void>;
  /** The supervisor's answer. */
  settle(result: Extract<ToServing, { kind: 'repository_result' }>): void;
}

/** Proving and warming a large model takes its time. */
const answerWithinMs = 10 * 60 * 1000;
/** Asks through `send` and matches the answers. */
export function createRepositoryChannel(
  send: (message: ToSupervisor) => void,
  timeoutMs = answerWithinMs,
): RepositoryChannel {
  // Changes are people's doing, so few.
  const questions = createQuestions<void>({
    ...{ timeoutMs, most: 100 },
    noAnswer: 'the agent is not changing its models now; try again',
  });
  return {
    change: (action, name, override) =>
      questions.ask((requestId) =>
        send({ kind: 'repository', requestId, action, name, ...(override === undefined ? {} : { override }) }),
      ),
    settle: ({ requestId, error }) => questions.settle(requestId, error ? { error } : { answer: undefined }),
  };
}

const IndexRequest = z.object({ ready: z.boolean().default(false) });

interface IndexEntry {
  name: string;
  /** Of what is nearly right it may be no number, or ''. */
  version: string;
  state: string;
  reason: string;
}

/** What there is: versions that are loaded, and those that the supervisor knows besides. */
export interface RepositoryIndex {
  engine: Engine;
  notLoaded(): readonly KnownModel[];
  /** What is nearly a model. */
  misplaced(): readonly Misplaced[];
}

/** Every version that is known, with its state and why. `{"ready": true}` leaves out those that do not answer. */
export async function handleIndex(c: Context, index: RepositoryIndex): Promise<Response> {
  const body = await readBody(c.req);
  const { ready } = body.trim() === '' ? { ready: false } : parseJson(IndexRequest, body, 'request');
  return c.json(indexOf(index, ready));
}

/** `ready`: without those that do not answer. */
export function indexOf({ engine, notLoaded, misplaced }: RepositoryIndex, ready: boolean): IndexEntry[] {
  const loaded = engine
    .list()
    .map(({ name, version }) => ({ name, version: String(version), state: 'READY', reason: '' }));
  if (ready) return loaded;
  return [
    ...loaded,
    ...notLoaded().map(({ name, version, state, reason }) => ({ name, version: String(version), state, reason })),
    ...misplaced().map(({ name, version, reason }) => ({ name, version, state: 'UNAVAILABLE', reason })),
  ];
}

const ChangeRequest = z.object({ parameters: z.record(z.string(), z.unknown()).nullish() });

/** 200 with an empty body once it is done. */
export async function handleUnload(c: Context, channel: RepositoryChannel): Promise<Response> {
  await channel.change('unload', nameOf(c));
  return c.body(null, 200);
}

/**
 * The same. The request may bring a configuration and files of its own, which hold until the model is loaded or unloaded
 * again; `overridesDir` is where they are put.
 */
export async function handleLoad(
  c: Context,
  channel: RepositoryChannel,
  overridesDir: string | undefined,
): Promise<Response> {
  await loadModel({ channel, overridesDir }, nameOf(c), async () => {
    const body = await readBody(c.req);
    return (body.trim() === '' ? {} : parseJson(ChangeRequest, body, 'request')).parameters ?? {};
  });
  return c.body(null, 200);
}

type LoadParameters = Readonly<Record<string, unknown>>;

/** Resolves when it is loaded. @throws AppError that says what failed to load */
export async function loadModel(
  { channel, overridesDir }: { channel: RepositoryChannel; overridesDir: string | undefined },
  name: string,
  parameters: () => Promise<LoadParameters>,
): Promise<void> {
  const override = await overrideOf(parameters, name, overridesDir);
  try {
    await channel.change('load', name, override);
  } catch (error) {
    if (override?.root !== undefined) await rm(override.root, { recursive: true, force: true });
    throw error;
  }
}

async function overrideOf(
  read: () => Promise<LoadParameters>,
  model: string,
  dir: string | undefined,
): Promise<LoadOverride | undefined> {
  try {
    const parameters = await read();
    if (dir !== undefined) return await readOverride(parameters, { model, dir });
    const given = Object.keys(parameters).find((name) => name === 'config' || name.startsWith('file:'));
    if (given === undefined) return undefined;
    throw new AppError('unsupported', `"${given}" is not taken: the models of this agent come from its control plane`);
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    throw new AppError(cause.code, `failed to load "${model}": ${cause.message}`, { cause });
  }
}

function nameOf(c: Context): string {
  return checkedName(c.req.param('model') ?? '');
}

/** Throws `not_found` for what no model can be called. */
export function checkedName(text: string): string {
  const name = ModelName.safeParse(text);
  if (name.success) return name.data;
  const why = `a model's name ${name.error.issues[0]?.message}`;
  throw new AppError('not_found', `Request for unknown model: "${text}": ${why}`);
}
