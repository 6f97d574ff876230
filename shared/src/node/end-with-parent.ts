// A child that nobody feeds or stops any more ends itself, also when its parent was killed while the child was starting.

/**
 * Ends this process once its parent's channel is closed. The event of a channel that closed while modules were loaded has
 * passed already, so that is asked, too. Not by `exit`: it ends worker threads, which aborts when one is busy.
 */
export function endWithParent(): void {
  const die = (): void => void process.kill(process.pid, 'SIGKILL');
  process.on('disconnect', die);
  if (!process.connected) die();
}
