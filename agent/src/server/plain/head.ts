// The head of a request, read by a grammar that is narrower than HTTP's: every byte of it means the same to every reader.
// What is beyond it is not judged here; Node's parser is the one that knows all of HTTP.
import type { CallHeaders } from '../call-headers.ts';

/** A longer head is not read here. */
export const maxHeadBytes = 8 * 1024;
export const headEnd = Buffer.from('\r\n\r\n');

export interface Head {
  method: string;
  /** Path and query. */
  target: string;
  /** Exactly so many bytes follow. */
  bodyBytes: number;
  /** The caller wants the connection to end with the answer. */
  close: boolean;
  host: string;
  headers: CallHeaders;
  /** It has nothing that only Node's way knows what to do with. */
  simple: boolean;
}

const requestLine = /^(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) (\/[\w\-.~%!$&'()*+,;=:@/?]*) HTTP\/1\.1$/;
const beginnings = ['GET /', 'HEAD /', 'POST /', 'PUT /', 'DELETE /', 'PATCH /', 'OPTIONS /'];
/** A request line that is not whole: its target, or that and some of what follows. */
const lineSoFar = /^[A-Z]+ \/[\w\-.~%!$&'()*+,;=:@/?]*(?: (?:H(?:T(?:T(?:P(?:\/(?:1(?:\.1?)?)?)?)?)?)?)?)?\r?$/;
const token = /^[\w!#$%&'*+.^`|~-]+$/;
/** Neither control characters nor bytes beyond ASCII. */
const visible = /^[\t\x20-\x7e]*$/;
const length = /^(?:0|[1-9]\d{0,14})$/;

/** They decide where a request ends, or what the connection becomes. */
const foreign = new Set(['transfer-encoding', 'upgrade', 'expect', 'proxy-connection', 'http2-settings']);
/** They ask for what only the other way does: other bodies, and pages of other origins. */
const steering = new Set(['content-encoding', 'origin', 'sec-fetch-site']);

/** What the headers say that mean something here. */
interface Said {
  host?: string;
  connection?: string;
  'content-length'?: string;
  authorization?: string;
  traceparent?: string;
  'content-type'?: string;
  'accept-encoding'?: string;
  'inference-header-content-length'?: string;
  'x-request-timeout-ms'?: string;
  'x-split-key'?: string;
}

const meaning = new Set<string>([
  'host',
  'connection',
  'content-length',
  'authorization',
  'traceparent',
  'content-type',
  'accept-encoding',
  'inference-header-content-length',
  'x-request-timeout-ms',
  'x-split-key',
] satisfies (keyof Said)[]);
/** Twice, they make where the request ends, or whom it is for, a matter of opinion. */
const framing = new Set(['host', 'connection', 'content-length']);

function isMeant(name: string): name is keyof Said {
  return meaning.has(name);
}

/** A head without its last two line ends, as latin1; undefined when it is not of this grammar. */
export function readHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const said: Said = {};
  const simple = readLines(lines, said);
  if (simple === undefined) return undefined;
  const [, method = '', target = ''] = requestLine.exec(first) ?? [];
  const { host } = said;
  if (method === '' || host === undefined) return undefined;
  const declared = said['content-length'];
  return {
    method,
    target,
    bodyBytes: Number(declared ?? 0),
    close: said.connection?.toLowerCase() === 'close',
    host,
    headers: callHeadersOf(said),
    simple: simple && declared !== undefined,
  };
}

/** Whether what has come of a head may still become one of this grammar. */
export function mayBecomeHead(text: string): boolean {
  const lines = text.split('\r\n');
  const last = lines.pop() ?? '';
  const [first, ...whole] = lines;
  if (first === undefined) return beginsRequest(last);
  return requestLine.test(first) && readLines(whole, {}) !== undefined && beginsHeader(last);
}

function beginsRequest(line: string): boolean {
  return (
    beginnings.some((each) => (line.length < each.length ? each.startsWith(line) : line.startsWith(each))) &&
    (!line.includes('/') || lineSoFar.test(line))
  );
}

function beginsHeader(line: string): boolean {
  const whole = line.endsWith('\r') ? line.slice(0, -1) : line;
  if (!visible.test(whole)) return false;
  const colon = whole.indexOf(':');
  // The empty line at the end, half of it.
  if (colon < 0) return whole === '' || (whole === line && token.test(whole));
  return token.test(whole.slice(0, colon));
}

/** Whether nothing in them is for the other way alone; undefined when one is not of this grammar. */
function readLines(lines: readonly string[], said: Said): boolean | undefined {
  let simple = true;
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    if (!token.test(name) || !visible.test(line) || foreign.has(name)) return undefined;
    if (steering.has(name)) simple = false;
    if (!isMeant(name)) continue;
    if (said[name] !== undefined) {
      // Node's rules say which one counts.
      if (framing.has(name)) return undefined;
      simple = false;
    }
    // A tab behind such a value makes it malformed, or another one, by Node's rules.
    if (framing.has(name) && line.endsWith('\t')) return undefined;
    const value = line.slice(colon + 1).trim();
    if (!isKnown(name, value)) return undefined;
    said[name] = value;
  }
  return simple;
}

function isKnown(name: keyof Said, value: string): boolean {
  if (name === 'content-length') return length.test(value);
  return name !== 'connection' || /^(?:keep-alive|close)$/i.test(value);
}

function callHeadersOf(said: Said): CallHeaders {
  return {
    authorization: said.authorization,
    traceparent: said.traceparent,
    contentLength: said['content-length'],
    contentType: said['content-type'],
    contentEncoding: undefined,
    acceptEncoding: said['accept-encoding'],
    jsonBytes: said['inference-header-content-length'],
    timeoutMs: said['x-request-timeout-ms'],
    splitKey: said['x-split-key'],
  };
}
