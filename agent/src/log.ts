// The log, one JSON object a line on stderr. Where stderr is a file on a full disk lines are held in memory, up to a bound,
// and written when there is room: that nobody can read what happens is no reason to stop.
import { type Logger, pino } from 'pino';

const heldBytes = 1024 * 1024;

/** `name` says which process speaks; `fd` is where it writes. */
export function createLog(name: 'agent' | 'serving', level: string, fd = 2): Logger {
  const destination = pino.destination({ dest: fd, sync: true, maxLength: heldBytes });
  destination.on('error', () => undefined);
  return pino({ level, base: { process: name } }, destination);
}
