// The faults: each one strikes a fleet, and puts right afterwards what a service manager or a person would put right.

import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive } from '../../support/is-alive.ts';
import type { Program } from '../../support/programs.ts';
import type { SmallDisk } from '../../support/small-disk.ts';
import { until } from '../../support/until.ts';
import { type FaultAgent, type FaultFleet, models } from './fleet.ts';
import type { Fault, Round } from './plan.ts';
import { killOne, roles } from './processes.ts';

/** Longer than a disk stays full. */
const patienceMs = 20_000;

/** What was hit; undefined when it was not there, and the round says nothing of the fault. */
type Strike = (fleet: FaultFleet, hit: Hit) => Promise<string | undefined>;

export interface Hit {
  agent: FaultAgent;
  round: Round;
  /** Aborts when the activity is over: there is nothing to wait for any more. */
  over: AbortSignal;
}

const strikes: Record<Fault, Strike> = {
  none: async () => 'nothing',
  'kill supervisor': (fleet, { agent }) => restartAgent(fleet, agent, () => agent.agent.kill()),
  'kill serving': async (_, { agent }) => named(await killOne(agent.agent.program.pid, roles.serving)),
  'kill prover': killProver,
  'kill model process': async (_, { agent }) => named(await killOne(agent.agent.program.pid, roles.model)),
  'kill server': (fleet) => restartServer(fleet, () => fleet.plane.kill()),
  'kill supervisor and server': async (fleet, { agent }) => {
    await Promise.all([
      restartServer(fleet, () => fleet.plane.kill()),
      restartAgent(fleet, agent, () => agent.agent.kill()),
    ]);
    return 'both';
  },
  'stop agent': (fleet, { agent }) => restartAgent(fleet, agent, () => agent.agent.stop()),
  'stop server': (fleet) => restartServer(fleet, () => fleet.plane.stop()),
  'freeze server': freezeServer,
  'full agent disk': (_, { agent, round }) => whileFull(agent.disk, round, async () => async () => 'the disk'),
  'full agent disk, kill serving': (_, { agent, round }) =>
    whileFull(agent.disk, round, async () => {
      const hit = named(await killOne(agent.agent.program.pid, roles.serving));
      return async () => hit;
    }),
  'full agent disk, kill supervisor': (fleet, { agent, round }) =>
    whileFull(agent.disk, round, async () => {
      const killed = agent.agent.program;
      const hit = restartAgent(fleet, agent, () => agent.agent.kill());
      await seenStarting(agent.agent, killed);
      return () => hit;
    }),
  'full server disk': (fleet, { round }) => whileFull(fleet.planeDisk, round, async () => async () => 'the disk'),
  'full server disk, kill server': (fleet, { round }) =>
    whileFull(fleet.planeDisk, round, async () => {
      const killed = fleet.plane.program;
      const hit = restartServer(fleet, () => fleet.plane.kill());
      await seenStarting(fleet.plane, killed);
      return () => hit;
    }),
  'damaged model file': damageModel,
  'damaged identity': damageIdentity,
};

export function strike(fleet: FaultFleet, hit: Hit): Promise<string | undefined> {
  return strikes[hit.round.fault](fleet, hit);
}

function named(victim: { pid: number; command: string } | undefined): string | undefined {
  return victim && `process ${victim.pid}`;
}

/** Ends the agent in some way and starts it again, as a service manager does: at once, and again when it does not stay. */
async function restartAgent(fleet: FaultFleet, hit: FaultAgent, end: () => Promise<void>): Promise<string> {
  const { agent } = hit;
  hit.isDown = true;
  await end();
  await again(
    fleet,
    `${agent.id} starting again`,
    () => agent.start(),
    () => agent.program,
  );
  hit.isDown = false;
  return agent.id;
}

async function restartServer(fleet: FaultFleet, end: () => Promise<void>): Promise<string> {
  const { plane } = fleet;
  await end();
  await again(
    fleet,
    'the server starting again',
    () => plane.start(),
    () => plane.program,
  );
  return 'the server';
}

/** Starts until it runs; that the first start does not succeed is a violation. */
async function again(
  fleet: FaultFleet,
  what: string,
  start: () => Promise<void>,
  program: () => Program,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (let failures = 0; ; failures++) {
    const code = await startedOrEnded(start, program);
    if (code === undefined) return;
    const told = `${what}: it ended with ${code}: ${program().output().slice(-600)}`;
    if (failures === 0) fleet.violations.push(told);
    if (performance.now() > deadline) throw new Error(told);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Undefined once it answers, or how it ended. */
async function startedOrEnded(
  start: () => Promise<void>,
  program: () => Program,
): Promise<number | string | undefined> {
  let isOver = false;
  const starting = start().then(
    () => undefined,
    // It waits longer than the end takes to be seen.
    (error: unknown) => program().ended() ?? String(error),
  );
  const ending = (async () => {
    while (!isOver && program().ended() === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
    return program().ended();
  })();
  const code = await Promise.race([starting, ending]);
  isOver = true;
  return code;
}

async function killProver(_: FaultFleet, { agent, over }: Hit): Promise<string | undefined> {
  while (!over.aborted) {
    const victim = await killOne(agent.agent.program.pid, roles.prover);
    if (victim !== undefined) return named(victim);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return undefined;
}

async function freezeServer({ plane }: FaultFleet, { round }: Hit): Promise<string> {
  plane.program.signal('SIGSTOP');
  try {
    await last(round);
  } finally {
    plane.program.signal('SIGCONT');
  }
  return 'the server';
}

/** `act` resolves when the disk may be freed, with what remains to be waited for then. */
async function whileFull<T>(
  disk: SmallDisk | undefined,
  round: Round,
  act: () => Promise<() => Promise<T>>,
): Promise<T | undefined> {
  if (disk === undefined) return undefined;
  disk.fill();
  // Programs give room back while it lasts, as logs and journals do.
  const refilling = setInterval(() => disk.fill(), 200);
  let rest: () => Promise<T>;
  try {
    [rest] = await Promise.all([act(), last(round)]);
  } finally {
    clearInterval(refilling);
    disk.empty();
  }
  return rest();
}

/** Until the program that was started after `killed` answers at all, or has ended. A server without room need not be ready. */
async function seenStarting(
  started: { readonly url: string; readonly program: Program },
  killed: Program,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline) {
    const isUp = () =>
      fetch(`${started.url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    const { program } = started;
    if (program !== killed && (program.ended() !== undefined || (await isUp()))) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function last({ lastsMs }: Round): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, lastsMs));
}

/** One byte of a model file turns over while nobody runs, as disks and cards do it. */
async function damageModel(fleet: FaultFleet, { agent, round }: Hit): Promise<string | undefined> {
  let hit: string | undefined;
  await restartAgent(fleet, agent, async () => {
    await agent.agent.kill();
    const folder = join(agent.folder, 'models', models.changing);
    const files = filesBelow(folder).filter((path) => path.endsWith('.onnx'));
    hit = files[Math.floor(round.placeShare * files.length)];
    if (hit === undefined) return;
    const bytes = readFileSync(hit);
    const at = Math.floor(round.placeShare * bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    writeFileSync(hit, bytes);
  });
  return hit;
}

/**
 * A file of the identity is half there after a power cut. It serves so. What says who it is the agent gets anew, with its key and
 * its join token; a key is put back by a person.
 */
async function damageIdentity(fleet: FaultFleet, { agent, round }: Hit): Promise<string | undefined> {
  const folder = join(agent.folder, 'identity');
  const names = ['identity.json', 'key.pem'].filter((name) => existsSync(join(folder, name)));
  const name = names[Math.floor(round.placeShare * names.length)];
  if (name === undefined) return undefined;
  const whole = new Map(names.map((each) => [join(folder, each), readFileSync(join(folder, each))]));
  const file = join(folder, name);
  try {
    await restartAgent(fleet, agent, async () => {
      await agent.agent.kill();
      truncateSync(file, Math.floor(statSync(file).size * round.placeShare));
    });
    agent.ledger.forget();
    const servesSo = `${agent.agent.id} serving with a damaged ${file}`;
    await until(servesSo, async () => agent.ledger.last(models.calm), { timeoutMs: 20_000 });
  } finally {
    if (name === 'key.pem')
      await restartAgent(fleet, agent, async () => {
        await agent.agent.kill();
        for (const [path, bytes] of whole) writeFileSync(path, bytes);
      });
  }
  return file;
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

/** Programs that ended although nobody ended them; they are started again. */
export async function revive(fleet: FaultFleet): Promise<void> {
  for (const hit of fleet.agents)
    if (!isAlive(hit.agent.program.pid) || hit.agent.program.ended() !== undefined) {
      fleet.violations.push(`${hit.agent.id} ended by itself: ${hit.agent.program.output().slice(-600)}`);
      await restartAgent(fleet, hit, async () => undefined);
    }
  if (fleet.plane.program.ended() !== undefined) {
    fleet.violations.push(`the server ended by itself: ${fleet.plane.program.output().slice(-600)}`);
    await restartServer(fleet, async () => undefined);
  }
}
