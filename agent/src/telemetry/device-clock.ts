// The device's wall clock, seen beside one that never jumps: stretches without a jump, and how far each is from the server's clock.
// What was recorded before a jump is placed by the clock that it was recorded with.

export interface DeviceClock {
  /** Looks at it; whether it has jumped since the last look. */
  look(): boolean;
  /** It is so far from the server's now. */
  read(offsetMs: number): void;
  /** The stretch of a stamp that was made a moment ago. */
  stretchOf(at: number): number;
  /** How far it was from the server's; undefined while nobody knows. */
  offsetOf(stretch: number): number | undefined;
}

interface Stretch {
  /** Wall clock minus monotonic clock. */
  drift: number;
  offsetMs: number | undefined;
}

/** Being set right a little at a time is no jump. */
const jumpMs = 2000;

export function createDeviceClock(wallMs: () => number, monotonicMs: () => number): DeviceClock {
  const first: Stretch = { drift: wallMs() - monotonicMs(), offsetMs: undefined };
  const stretches = [first];
  let present = first;

  function look(): boolean {
    const drift = wallMs() - monotonicMs();
    if (Math.abs(drift - present.drift) < jumpMs) return false;
    present = { drift, offsetMs: undefined };
    stretches.push(present);
    return true;
  }

  return {
    look,
    read(offsetMs) {
      look();
      present.offsetMs = offsetMs;
      // Their own readings, where there are some, know it better than what a jump tells.
      for (const each of stretches) each.offsetMs ??= Math.round(offsetMs + each.drift - present.drift);
    },
    stretchOf(at) {
      const now = monotonicMs();
      const distance = ({ drift }: Stretch) => Math.abs(at - now - drift);
      let nearest = stretches.length - 1;
      for (const [place, each] of stretches.entries())
        if (distance(each) < distance(stretches[nearest] ?? each)) nearest = place;
      return nearest;
    },
    offsetOf: (stretch) => stretches[stretch]?.offsetMs,
  };
}
