// What a device's machine had to do while a window was open. Everything is an average, an extreme or a rate over samples, so it
// stays right when several windows of one device say the same, and merging is addition.
import { z } from 'zod';

const Count = z.number().int().min(0);

/** Of so many samples: their mean is `sum / count`. */
const Level = z.object({ count: z.number().int().min(1), sum: z.number(), min: z.number(), max: z.number() });
export type Level = z.infer<typeof Level>;

/** What the machine does not tell is absent. */
export const ResourceUsage = z.object({
  /** How many times it was looked at, and the seconds between the first and the last look. */
  samples: Count.default(0),
  seconds: z.number().min(0).default(0),
  /** Share of all cores that were busy, 0 to 1. */
  processor: Level.optional(),
  /** Share of the memory that is in use, 0 to 1, and bytes of the agent with its serving processes. */
  memory: Level.optional(),
  agentBytes: Level.optional(),
  /** Bytes free where the agent keeps its data. */
  diskFreeBytes: Level.optional(),
  /** Of the hottest sensor, in degrees Celsius. */
  temperatureC: Level.optional(),
  /** Bytes through all interfaces but the local one, in `seconds`. */
  receivedBytes: Count.optional(),
  sentBytes: Count.optional(),
  /** Samples in which the processor was held back, by heat, a weak supply or a bound of its container. */
  throttled: Count.optional(),
});
export type ResourceUsage = z.infer<typeof ResourceUsage>;

export function levelOf(value: number): Level {
  return { count: 1, sum: value, min: value, max: value };
}

const levels = ['processor', 'memory', 'agentBytes', 'diskFreeBytes', 'temperatureC'] as const;
const sums = ['receivedBytes', 'sentBytes', 'throttled'] as const;

export function mergeUsage(a: ResourceUsage, b: ResourceUsage): ResourceUsage {
  const usage: ResourceUsage = { samples: a.samples + b.samples, seconds: a.seconds + b.seconds };
  for (const name of levels) {
    const level = mergeLevels(a[name], b[name]);
    if (level !== undefined) usage[name] = level;
  }
  for (const name of sums) {
    const sum = a[name] === undefined ? b[name] : a[name] + (b[name] ?? 0);
    if (sum !== undefined) usage[name] = sum;
  }
  return usage;
}

function mergeLevels(a: Level | undefined, b: Level | undefined): Level | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return { count: a.count + b.count, sum: a.sum + b.sum, min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) };
}
