// What all requests share, whichever protocol they came over: the memory of bodies, and turns of the large ones.
import { maxBodyBytes } from './body.ts';
import { type BodyMemory, createBodyMemory } from './body-memory.ts';
import { createTurns, type Turns } from './turns.ts';

export interface Limits {
  memory: BodyMemory;
  turns: Turns;
}

/** Room for two bodies of the largest kind, each held twice for a moment, in pieces and whole. */
const bodyMemory = { totalBytes: 2 * maxBodyBytes, keptBytes: 8 * 1024 * 1024 };
const largeRequests = { smallBytes: 64 * 1024, atOnceBytes: 8 * 1024 * 1024, turnMs: 10_000, waitMs: 30_000 };

export function createLimits(): Limits {
  return { memory: createBodyMemory(bodyMemory), turns: createTurns(largeRequests) };
}
