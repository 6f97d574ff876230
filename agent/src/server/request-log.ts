// One line for each request, for those who ask for it: at debug, so that serving costs nothing else.
import type { Logger } from 'pino';

/** A request and its answer, written down. */
export type RequestLog = (request: {
  method: string;
  path: string;
  status: number;
  ms: number;
  traceparent: string | undefined;
}) => void;

/** Writes at `debug`; undefined when that level is off, which it is or is not for good. */
export function createRequestLog(log: Logger): RequestLog | undefined {
  return log.isLevelEnabled('debug') ? (request) => log.debug(request, 'answered') : undefined;
}
