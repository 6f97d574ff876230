// W3C trace context: what a caller sends comes back with the answer and stands in the log, so that its traces show where
// the time went. The agent starts no spans of its own.

const pattern = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;

/** The `traceparent` header when it is one; anything else is to be ignored. */
export function traceparentOf(header: string | undefined): string | undefined {
  return header !== undefined && header.length <= 200 && pattern.test(header) && !header.startsWith('ff')
    ? header
    : undefined;
}
