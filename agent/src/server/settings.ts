// Trace and log settings, which Triton's clients may ask for. The agent has them fixed at its start, and says so.
import { AppError, parseJson } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Engine } from '../inference/engine.ts';
import { readBody } from './body.ts';
import { leaseOf } from './lease.ts';

/** The agent writes no traces of its own; it passes W3C trace context through. */
export const traceSettings: Readonly<Record<string, unknown>> = {
  trace_level: ['OFF'],
  trace_rate: '1000',
  trace_count: '-1',
  log_frequency: '0',
  trace_file: '',
  trace_mode: 'opentelemetry',
};

/** The settings, for the server or for a model that exists. */
export async function handleTrace(c: Context, engine: Engine): Promise<Response> {
  if (c.req.param('model') !== undefined) leaseOf(c, engine).release();
  refuseTraceChanges(await changesIn(c));
  return c.json(traceSettings);
}

/** What is logged, by the level that the process was started with. */
export async function handleLogging(c: Context, logLevel: string): Promise<Response> {
  refuseLogChanges(await changesIn(c), logLevel);
  return c.json(logSettings(logLevel));
}

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

export function logSettings(logLevel: string): Record<string, unknown> {
  const place = levels.indexOf(logLevel);
  return {
    log_file: '',
    log_info: place <= levels.indexOf('info'),
    log_warning: place <= levels.indexOf('warn'),
    log_error: place <= levels.indexOf('error'),
    log_verbose_level: Math.max(0, levels.indexOf('info') - place),
    log_format: 'default',
  };
}

const Changes = z.record(z.string(), z.unknown());

type Changes = z.infer<typeof Changes>;

async function changesIn(c: Context): Promise<Changes> {
  if (c.req.method !== 'POST') return {};
  const body = await readBody(c.req);
  return body.trim() === '' ? {} : parseJson(Changes, body, 'request');
}

/** Throws `unsupported`. */
export function refuseTraceChanges(changes: Changes): void {
  refuseChanges(changes, traceSettings, 'tracing is not done by the agent; it passes traceparent through');
}

/** Throws `unsupported`. */
export function refuseLogChanges(changes: Changes, logLevel: string): void {
  refuseChanges(changes, logSettings(logLevel), 'what is logged is set by EDGELOOP_LOG_LEVEL at the start');
}

/** What is asked for as it already is, or with null (Triton: back to the default), changes nothing. */
function refuseChanges(changes: Changes, settings: Readonly<Record<string, unknown>>, reason: string): void {
  for (const [name, value] of Object.entries(changes)) {
    if (!Object.hasOwn(settings, name)) throw new AppError('invalid_request', `unknown setting "${name}"`);
    if (value === null || JSON.stringify(value) === JSON.stringify(settings[name])) continue;
    throw new AppError('unsupported', `"${name}" can't be changed: ${reason}`);
  }
}
