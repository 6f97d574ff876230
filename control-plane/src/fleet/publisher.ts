// Tells devices what they should run, one round at a time: whoever asks during a round gets a later one, so the last
// message of a device is never older than the last change.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';

/** Some devices could not be told; all others were. */
export class Untold extends AppError {
  readonly deviceIds: ReadonlySet<string>;

  constructor(reasons: ReadonlyMap<string, unknown>) {
    const [first] = reasons;
    const example = first === undefined ? '' : ` (${first[0]}: ${messageOf(first[1])})`;
    super('unavailable', `${reasons.size} devices could not be told what to run${example}`, { cause: first?.[1] });
    this.deviceIds = new Set(reasons.keys());
  }
}

/** `publishAll` reads the present state of the devices and publishes it. */
export function createPublisher(publishAll: (deviceIds: string[]) => Promise<void>) {
  const rounds = createTurn();
  let waiting = new Set<string>();
  let next: Promise<void> | undefined;

  function round(): Promise<void> {
    next = undefined;
    const deviceIds = [...waiting];
    waiting = new Set();
    return publishAll(deviceIds);
  }

  return {
    /** Resolves once the devices' state, as of now or later, was published. */
    publish(deviceIds: readonly string[]): Promise<void> {
      if (deviceIds.length === 0) return Promise.resolve();
      for (const id of deviceIds) waiting.add(id);
      next ??= rounds.run(round);
      return next;
    },
  };
}
