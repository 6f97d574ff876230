// What pages of other origins get that are allowed by name: asking models, reading what is said of them, and giving
// feedback. What changes models, and what is for operators, stays closed to them. (CORS, in the Fetch standard.)
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AppError } from '@edgeloop/shared/errors';
import { errorReply } from './errors.ts';
import type { VisitorCheck } from './visitors.ts';

const readable = /^\/(?:v2|predict|healthz|readyz)(?:[/?]|$)/;
const feedback = /^\/feedback\/[^/?]+(?:\?|$)/;

const requestHeaders = [
  'Accept',
  'Authorization',
  'Content-Encoding',
  'Content-Type',
  'Inference-Header-Content-Length',
  'Traceparent',
  'Tracestate',
  'X-Request-Timeout-Ms',
].join(', ');
const answerHeaders = 'Content-Encoding, Inference-Header-Content-Length, Retry-After, Traceparent, WWW-Authenticate';
/** The longest that browsers take. */
const preflightSeconds = '7200';

export interface DoorDeps {
  check: VisitorCheck;
  /** Whether inferences or predictions are posted to this path. */
  asksModel(path: string): boolean;
  /** An error that is no caller's doing. */
  onUnexpected(error: unknown): void;
}

/** Whether a request goes on; if not, it was answered. */
export type Door = (request: IncomingMessage, response: ServerResponse, path: string) => boolean;

export function createDoor({ check, asksModel, onUnexpected }: DoorDeps): Door {
  /** The methods that pages of others may use here. */
  const openAt = (path: string): string[] => [
    ...(readable.test(path) ? ['GET', 'HEAD'] : []),
    ...(asksModel(path) || feedback.test(path) ? ['POST'] : []),
  ];
  return (request, response, path) => {
    try {
      const origin = check(request, path);
      return origin === undefined || welcome(request, response, { origin, open: openAt(path), path });
    } catch (error) {
      const { status, headers, body } = errorReply(error, onUnexpected);
      response.writeHead(status, headers).end(body);
      return false;
    }
  };
}

function welcome(
  request: IncomingMessage,
  response: ServerResponse,
  { origin, open, path }: { origin: string; open: string[]; path: string },
): boolean {
  const { method = '', headers } = request;
  const isPreflight = method === 'OPTIONS';
  const wanted = isPreflight ? (headers['access-control-request-method'] ?? '') : method;
  if (!open.includes(wanted)) {
    const message = `a page of "${origin}" may ask models, and nothing else; ${wanted} ${path} is not open to it`;
    throw new AppError('forbidden', message);
  }
  response.setHeader('Access-Control-Allow-Origin', origin);
  response.setHeader('Vary', 'Origin');
  response.setHeader('Access-Control-Expose-Headers', answerHeaders);
  if (!isPreflight) return true;
  response.setHeader('Access-Control-Allow-Methods', open.join(', '));
  response.setHeader('Access-Control-Allow-Headers', requestHeaders);
  response.setHeader('Access-Control-Max-Age', preflightSeconds);
  // A page of the internet asks for a machine of a private network (Private Network Access).
  if (headers['access-control-request-private-network'] === 'true')
    response.setHeader('Access-Control-Allow-Private-Network', 'true');
  response.writeHead(204).end();
  return false;
}
