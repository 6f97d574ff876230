// Looks twice a day whether the server's certificate runs out soon, and takes a new one into use without a restart.
import type { Logger } from 'pino';
import type { Authority, ServerCredentials } from './authority.ts';

const everyMs = 12 * 3_600_000;

export function createCertificateKeeper(deps: {
  authority: Pick<Authority, 'serverCredentials'>;
  /** Takes new credentials into use for new connections. */
  use: (credentials: ServerCredentials) => void;
  log: Logger;
}) {
  let timer: NodeJS.Timeout | undefined;
  let cert: string | undefined;

  async function look(): Promise<void> {
    const credentials = await deps.authority.serverCredentials();
    if (cert !== undefined && cert !== credentials.cert) {
      deps.use(credentials);
      deps.log.info('the server certificate was renewed');
    }
    cert = credentials.cert;
  }

  return {
    look,
    async start(): Promise<void> {
      await look();
      timer = setInterval(() => {
        look().catch((error: unknown) => deps.log.error({ err: error }, 'the server certificate could not be renewed'));
      }, everyMs);
      timer.unref();
    },
    close(): void {
      clearInterval(timer);
    },
  };
}
