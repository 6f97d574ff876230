// Looks at the machine now and then, off the way of any request, and sums up what it saw until a window takes it.
import { levelOf, mergeUsage, type ResourceUsage } from '@edgeloop/shared/resource-usage';
import type { MachineReading } from './machine.ts';

const everyMs = 10_000;

export interface ResourcesOptions {
  read(): Promise<MachineReading>;
  /** A monotonic clock in milliseconds. */
  nowMs(): number;
}

export interface Resources {
  /** Looks if the last look was long enough ago, or `now`. */
  look(when?: 'now'): Promise<void>;
  /** What was seen since it was asked last; undefined when nothing was. */
  take(): ResourceUsage | undefined;
}

export function createResources({ read, nowMs }: ResourcesOptions): Resources {
  let last: { reading: MachineReading; atMs: number } | undefined;
  let usage: ResourceUsage | undefined;
  return {
    async look(when) {
      const atMs = nowMs();
      if (when === undefined && last !== undefined && atMs - last.atMs < everyMs) return;
      const reading = await read();
      const seen = usageOf(reading, last && { ...last, seconds: (atMs - last.atMs) / 1000 });
      usage = usage === undefined ? seen : mergeUsage(usage, seen);
      last = { reading, atMs };
    },
    take() {
      const taken = usage;
      usage = undefined;
      return taken;
    },
  };
}

/** One look, and what counters say since the former one. */
function usageOf(now: MachineReading, former: { reading: MachineReading; seconds: number } | undefined): ResourceUsage {
  const before = former?.reading;
  const ticks = before === undefined ? 0 : now.allTicks - before.allTicks;
  const processor = before !== undefined && ticks > 0 ? (now.busyTicks - before.busyTicks) / ticks : undefined;
  const received = grown(before?.receivedBytes, now.receivedBytes);
  const sent = grown(before?.sentBytes, now.sentBytes);
  const isThrottled = now.throttles === Number.POSITIVE_INFINITY || (grown(before?.throttles, now.throttles) ?? 0) > 0;
  return {
    ...{ samples: 1, seconds: former?.seconds ?? 0, memory: levelOf(now.memoryUsed) },
    ...(processor === undefined ? {} : { processor: levelOf(Math.min(1, Math.max(0, processor))) }),
    ...(now.agentBytes === undefined ? {} : { agentBytes: levelOf(now.agentBytes) }),
    ...(now.diskFreeBytes === undefined ? {} : { diskFreeBytes: levelOf(now.diskFreeBytes) }),
    ...(now.temperatureC === undefined ? {} : { temperatureC: levelOf(now.temperatureC) }),
    ...(received === undefined ? {} : { receivedBytes: received }),
    ...(sent === undefined ? {} : { sentBytes: sent }),
    ...(now.throttles === undefined ? {} : { throttled: Number(isThrottled) }),
  };
}

/** A counter that fell began anew. */
function grown(before: number | undefined, now: number | undefined): number | undefined {
  if (before === undefined || now === undefined || before === Number.POSITIVE_INFINITY) return undefined;
  return Math.max(0, now - before);
}
