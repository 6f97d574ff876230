// Which windows of which rules are to be judged: those that closed, and those that got more data after being judged.
import type { WindowRule } from '../alerts/alert-driver.ts';

/** A window of a rule for one version, by its identity. */
interface WindowKey {
  ruleId: string;
  version: number;
  windowStart: number;
}

export interface DueWindows {
  add(key: WindowKey): void;
  /** Takes out, oldest first, what has closed by `now`; windows of rules that are gone are forgotten. */
  take(rules: readonly WindowRule[], now: number): { rule: WindowRule; version: number; windowStart: number }[];
}

/** How long a window stays open for late data after its end; data that is later still has it judged again. */
export function graceMs(windowSeconds: number): number {
  return Math.min(windowSeconds * 250, 30_000);
}

/** The beginning of the window that an instant belongs to: windows are aligned to the epoch. */
export function windowStartOf(at: number, windowSeconds: number): number {
  return at - (at % (windowSeconds * 1000));
}

export function createDueWindows(): DueWindows {
  /** By identity; `judgedAt` keeps a stream of late arrivals from having a window judged over and over. */
  const waiting = new Map<string, WindowKey>();
  const judgedAt = new Map<string, number>();
  return {
    add: (key) => {
      waiting.set(idOf(key), key);
    },
    take(rules, now) {
      const byId = new Map(rules.map((rule) => [rule.id, rule]));
      forgetOld(now);
      const due = [];
      for (const [id, key] of waiting) {
        const rule = byId.get(key.ruleId);
        if (rule !== undefined && !isDue(id, key, { seconds: rule.spec.windowSeconds, now })) continue;
        waiting.delete(id);
        if (rule === undefined) continue;
        judgedAt.set(id, now);
        due.push({ rule, version: key.version, windowStart: key.windowStart });
      }
      return due.sort((a, b) => a.windowStart - b.windowStart);
    },
  };

  function isDue(id: string, key: WindowKey, { seconds, now }: { seconds: number; now: number }): boolean {
    const grace = graceMs(seconds);
    const closed = key.windowStart + seconds * 1000 + grace <= now;
    return closed && (judgedAt.get(id) ?? 0) + Math.max(1000, grace) <= now;
  }

  function forgetOld(now: number): void {
    for (const [id, at] of judgedAt) if (at + 60_000 < now) judgedAt.delete(id);
  }
}

function idOf({ ruleId, version, windowStart }: WindowKey): string {
  return `${ruleId} ${version} ${windowStart}`;
}
