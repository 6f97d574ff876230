// The frame of every command: finds the server, runs, prints a failure with what to do.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { type ApiClient, createClient } from './client.ts';
import { type GlobalOptions, globalsOf } from './output.ts';

export interface CommandContext {
  api: ApiClient;
  json: boolean;
}

/** The program with the options that every command understands. */
export function addGlobalOptions(program: Command): Command {
  return program
    .option('--json', 'print JSON for scripts')
    .option('--url <url>', 'address of the control plane (EDGELOOP_URL, default http://127.0.0.1:7400)')
    .option('--key <key>', 'API key (EDGELOOP_API_KEY, default the admin key on the server’s own machine)');
}

/** A group such as `edgeloop devices`. */
export function group(program: Command, name: string, description: string): Command {
  const command = new Command(name).description(description);
  program.addCommand(command);
  return command;
}

/** Wraps a command's work for commander, which calls it with arguments, then options, and the command as `this`. */
export function action<A extends unknown[]>(work: (context: CommandContext, ...args: A) => Promise<void>) {
  return async function (this: Command, ...args: A): Promise<void> {
    const globals: GlobalOptions = globalsOf(this);
    try {
      await work({ api: createClient(process.env, globals), json: globals.json === true }, ...args);
    } catch (error) {
      report(error, this, globals.json === true);
    }
  };
}

function report(error: unknown, command: Command, json: boolean): void {
  const code = error instanceof AppError ? error.code : 'internal';
  const errors = error instanceof AppError ? error.errors : [];
  if (json) process.stderr.write(`${JSON.stringify({ error: { code, message: messageOf(error), errors } })}\n`);
  else {
    process.stderr.write(`edgeloop: ${asTyped(command, messageOf(error))}\n`);
    for (const { field, message } of errors.slice(1)) {
      process.stderr.write(`  ${asTyped(command, field)}: ${message}\n`);
    }
  }
  process.exitCode = 1;
}

/** The API's names of fields, such as `body.role`, as the command's own: `--role`, or `<metric>` for an argument. */
export function asTyped({ options, registeredArguments }: Command, text: string): string {
  return text.replace(/\b(?:body|query)(?:\.\w+)*\.(\w+)/g, (field, name: string) => {
    const option = options.find((each) => [name, name.replace(/Seconds$/, '')].includes(each.attributeName()));
    if (option) return option.long ?? option.flags;
    return registeredArguments.some((each) => each.name() === name) ? `<${name}>` : field;
  });
}

/** A number argument or option. */
export function numeric(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('must be a number');
  return value;
}

/** An answer whose content does not matter. */
export const Anything = z.unknown();
