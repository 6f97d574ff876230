// Calls for a key at once, then at most once in an interval, the last call never lost.

export interface Throttle {
  call(key: string): void;
  /** Drops what is still due. */
  close(): void;
}

export function createThrottle(intervalMs: number, action: (key: string) => void): Throttle {
  /** `again`: called once more during the interval. */
  const running = new Map<string, { timer: NodeJS.Timeout; again: boolean }>();
  return {
    call(key) {
      const current = running.get(key);
      if (current !== undefined) current.again = true;
      else run(key);
    },
    close() {
      for (const { timer } of running.values()) clearTimeout(timer);
      running.clear();
    },
  };

  function run(key: string): void {
    action(key);
    const timer = setTimeout(() => {
      const again = running.get(key)?.again ?? false;
      running.delete(key);
      if (again) run(key);
    }, intervalMs);
    timer.unref();
    running.set(key, { timer, again: false });
  }
}
