// Watches one life of the serving process from outside: that it says something every second, and that its memory
// stays in bounds. Neither can be left to the process itself once native code runs away with it.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';

export interface WatchOptions {
  pid: number;
  /** Silence after which the process counts as stuck; it says something every second. */
  silenceMs: number;
  /** Bound of the time until it first says something. */
  startMs: number;
  maxRssBytes: number;
  onFault(reason: 'silence' | 'memory', detail: string): void;
}

export interface ServingWatch {
  /** A message came. */
  heard(): void;
  end(): void;
}

const run = promisify(execFile);
/** A bomb is to be seen before the machine swaps; reading /proc costs some 30 us, starting `ps` some ms. */
const everyMs = process.platform === 'linux' ? 200 : 2000;
const megabyte = 1024 * 1024;

export function watchServing(options: WatchOptions): ServingWatch {
  const { pid, maxRssBytes } = options;
  let heardAt = performance.now();
  let lookedAt = heardAt;
  let allowedMs = options.startMs;
  let ended = false;

  function fault(reason: 'silence' | 'memory', detail: string): void {
    end();
    options.onFault(reason, detail);
  }

  async function look(): Promise<void> {
    const now = performance.now();
    // When this process was late itself (suspended, starved), its messages are still to be read.
    if (now - lookedAt > everyMs + 1000) heardAt = now;
    lookedAt = now;
    if (now - heardAt > allowedMs)
      return fault('silence', `it said nothing for ${Math.round((now - heardAt) / 1000)} s and was killed`);
    const rss = await rssBytes(pid);
    if (ended || rss === undefined || rss <= maxRssBytes) return;
    const figures = `${Math.round(rss / megabyte)} MB, allowed are ${Math.round(maxRssBytes / megabyte)} MB`;
    fault('memory', `it used ${figures} (EDGELOOP_MEMORY_MB) and was killed`);
  }

  const timer = setInterval(() => void look(), everyMs);
  timer.unref();
  function end(): void {
    ended = true;
    clearInterval(timer);
  }
  return {
    heard() {
      heardAt = performance.now();
      allowedMs = options.silenceMs;
    },
    end,
  };
}

/** Resident set; undefined once the process is gone. */
async function rssBytes(pid: number): Promise<number | undefined> {
  try {
    if (process.platform === 'linux') {
      const match = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'));
      return match === null ? undefined : Number(match[1]) * 1024;
    }
    const { stdout } = await run('ps', ['-o', 'rss=', '-p', String(pid)]);
    return Number(stdout.trim()) * 1024;
  } catch {
    return undefined; // It ended between two looks; its exit tells the rest.
  }
}
