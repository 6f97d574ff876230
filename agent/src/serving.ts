// The serving process. The supervisor starts it, hands it sockets and models, and is told of what it needs to know; a model that
// kills the process takes nothing else with it.
import { AppError, parse, parseJson } from '@edgeloop/shared/errors';
import { endWithParent } from '@edgeloop/shared/node/end-with-parent';
import { createLog } from './log.ts';
import { logFdVariable, ServingConfig, spareArgument, ToServing, type ToSupervisor } from './process/ipc.ts';
import { createServingCore } from './serving-core.ts';

function main(): void {
  const text = process.env.EDGELOOP_SERVING_CONFIG ?? process.argv[2];
  if (text === undefined) throw new AppError('invalid_request', 'EDGELOOP_SERVING_CONFIG is not set');
  endWithParent();
  // Terminals and service managers signal the whole group; when to end is the supervisor's word, by `stop`.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
  const config = parseJson(ServingConfig, text, 'EDGELOOP_SERVING_CONFIG');
  const log = createLog('serving', config.logLevel, Number(process.env[logFdVariable] ?? 2));
  const core = createServingCore(config, log, send);
  const failed = (error: unknown): void => log.fatal({ err: error }, 'a message could not be handled');
  const begin = (): void => {
    process.on('message', (raw: unknown, socket: unknown) => {
      try {
        const message = parse(ToServing, raw, 'message');
        const handled = core.handle(message, socket);
        (message.kind === 'stop' ? handled.then(() => process.exit(0)) : handled).catch(failed);
      } catch (error) {
        failed(error);
      }
    });
    core.begin();
  };
  if (process.argv.includes(spareArgument)) {
    core.prepare();
    // The first message is `begin`. Until then whatever is on disk is another process's.
    process.once('message', begin);
  } else begin();
}

function send(message: ToSupervisor): void {
  // A supervisor that is gone takes this process with it, see `endWithParent`.
  if (process.connected) process.send?.(message);
}

main();
