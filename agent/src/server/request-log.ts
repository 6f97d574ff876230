// One line for each request, for those who ask for it: at debug, so that serving costs nothing.
import type { Logger } from 'pino';

/** A request and its answer, written down. */
export type RequestLog = (request: {
  method: string;
  path: string;
  status: number;
  ms: number;
  traceparent: string | undefined;
}) => void;

/** Writes at `debug`. */
export function createRequestLog(log: Logger): RequestLog {
  return (request) => {
    if (log.isLevelEnabled('debug')) log.debug(request, 'answered');
  };
}
