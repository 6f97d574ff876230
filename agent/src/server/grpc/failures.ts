// The one place where errors become gRPC's statuses, with the words that HTTP has for them.

import { AppError, type ErrorCode } from '@edgeloop/shared/errors';
import { type Metadata, Metadata as NewMetadata, status } from '@grpc/grpc-js';

const statuses: Record<ErrorCode, status> = {
  invalid_request: status.INVALID_ARGUMENT,
  unauthorized: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  not_found: status.NOT_FOUND,
  method_not_allowed: status.UNIMPLEMENTED,
  conflict: status.ABORTED,
  payload_too_large: status.RESOURCE_EXHAUSTED,
  unsupported_media_type: status.INVALID_ARGUMENT,
  model_rejected: status.FAILED_PRECONDITION,
  destination_refused: status.FAILED_PRECONDITION,
  too_many_requests: status.RESOURCE_EXHAUSTED,
  internal: status.INTERNAL,
  integrity: status.DATA_LOSS,
  unsupported: status.UNIMPLEMENTED,
  unavailable: status.UNAVAILABLE,
  timeout: status.DEADLINE_EXCEEDED,
  insufficient_storage: status.RESOURCE_EXHAUSTED,
};

export interface GrpcStatus {
  code: status;
  details: string;
  metadata: Metadata;
}

/** An error that is none of ours says nothing of itself to the caller; `onUnexpected` hears of it. */
export function statusOf(error: unknown, onUnexpected: (error: unknown) => void): GrpcStatus {
  const metadata = new NewMetadata();
  if (!(error instanceof AppError)) {
    onUnexpected(error);
    return { code: status.INTERNAL, details: 'internal error; the log of the agent has the reason', metadata };
  }
  if (error.code === 'internal') onUnexpected(error);
  if (error.retryAfterSeconds !== undefined) {
    metadata.set('retry-after', String(error.retryAfterSeconds));
    // By which clients of gRPC wait on their own.
    metadata.set('grpc-retry-pushback-ms', String(error.retryAfterSeconds * 1000));
  }
  // The header is written as a URI, which lone halves of surrogate pairs can't be in; bytes leave them out.
  return { code: statuses[error.code], details: Buffer.from(error.message).toString(), metadata };
}
