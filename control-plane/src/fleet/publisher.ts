// Tells devices what they should run, one round at a time: whoever asks during a round gets a later one, so the last
// message of a device is never older than the last change.

/** `publishAll` reads the present state of the devices and publishes it. */
export function createPublisher(publishAll: (deviceIds: string[]) => Promise<void>) {
  let waiting = new Set<string>();
  let last: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;

  function round(): Promise<void> {
    const previous = last;
    const mine = previous
      // The earlier round's failure is thrown to those who asked for it.
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        const deviceIds = [...waiting];
        waiting = new Set();
        return publishAll(deviceIds);
      });
    last = mine;
    return mine;
  }

  return {
    /** Resolves once the devices' state, as of now or later, was published. */
    publish(deviceIds: readonly string[]): Promise<void> {
      if (deviceIds.length === 0) return Promise.resolve();
      for (const id of deviceIds) waiting.add(id);
      next ??= round();
      return next;
    },
  };
}
