// The headers of an inference or a prediction, read once where it comes in and handed on from there.
import type { IncomingHttpHeaders } from 'node:http';

/** As they were sent; undefined is what was not. */
export interface CallHeaders {
  authorization: string | undefined;
  traceparent: string | undefined;
  contentLength: string | undefined;
  contentType: string | undefined;
  contentEncoding: string | undefined;
  acceptEncoding: string | undefined;
  /** Bytes of JSON in front of the binary tensors. */
  jsonBytes: string | undefined;
  /** Milliseconds that the caller waits for its answer. */
  timeoutMs: string | undefined;
  /** By which a request is split where a version answers a share of them. */
  splitKey: string | undefined;
}

export function callHeaders(headers: IncomingHttpHeaders): CallHeaders {
  return {
    authorization: headers.authorization,
    traceparent: one(headers.traceparent),
    contentLength: headers['content-length'],
    contentType: headers['content-type'],
    contentEncoding: headers['content-encoding'],
    acceptEncoding: one(headers['accept-encoding']),
    jsonBytes: one(headers['inference-header-content-length']),
    timeoutMs: one(headers['x-request-timeout-ms']),
    splitKey: one(headers['x-split-key']),
  };
}

/** Node joins what is sent twice; its types allow a list for every name that it does not know. */
function one(value: string | string[] | undefined): string | undefined {
  return typeof value === 'object' ? value[0] : value;
}
