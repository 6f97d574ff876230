// The model version that a path asks for, leased.
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import type { Engine, ModelLease } from '../inference/engine.ts';

/** The lease that the path of `c` asks for: `:model` and perhaps `:version`. Throws `not_found` or `unavailable`. */
export function leaseOf(c: Context, engine: Engine): ModelLease {
  return leaseNamed(engine, c.req.param('model') ?? '', c.req.param('version'));
}

/** The same for names as they stand in a path, percent-decoded. */
export function leaseNamed(engine: Pick<Engine, 'lease'>, model: string, version: string | undefined): ModelLease {
  if (version === undefined) return engine.lease(model);
  if (!/^[0-9]{1,10}$/.test(version))
    throw new AppError('not_found', `Request for unknown model: "${model}" version "${version}"`);
  return engine.lease(model, Number(version));
}
