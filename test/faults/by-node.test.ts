// What hostile models do to their callers' connections, once more with all reading left to Node's HTTP server.
import { describe } from 'vitest';

process.env.EDGELOOP_PLAIN_HTTP = 'off';

describe("read by Node's server", async () => {
  await import('./hostile-models.test.ts');
});
