// `POST /predict/{model}`: features, pictures and recordings by what the manifest says of them, answered with labels,
// values or boxes.
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { createBodyBudget } from './body.ts';
import { askedOf, type CallDeps, runCall } from './call.ts';
import { answerOf } from './predict/answer.ts';
import { inputsOf } from './predict/inputs.ts';
import { readPayload } from './predict/payload.ts';

/** For the bodies of all requests here: room for two of the largest kind. */
const budget = createBodyBudget(128 * 1024 * 1024);

/** Answers `{id, model, version, …}`, as `answerOf` says. `?top=k` adds the k best classes. */
export async function handlePredict(c: Context, deps: CallDeps): Promise<Response> {
  let held = 0;
  const hold = (bytes: number): void => {
    budget.take(bytes);
    held += bytes;
  };
  try {
    return c.json(await answerTo(c, deps, hold));
  } finally {
    budget.give(held);
  }
}

async function answerTo(c: Context, deps: CallDeps, hold: (bytes: number) => void): Promise<object> {
  return runCall(deps, await askedOf(c, deps, hold), async (body, lease) => {
    const top = topOf(c.req.query('top'));
    const payload = await readPayload(body, c.req.header('content-type'), lease.model);
    const inputs = await inputsOf(payload, lease.model);
    return {
      id: payload.id,
      inputs: inputs.tensors,
      answer: (id, outputs) => ({
        id,
        model: lease.name,
        version: lease.version,
        ...answerOf(lease, outputs, { top, single: payload.single, inputs }),
      }),
    };
  });
}

function topOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw new AppError('invalid_request', `top must be a number of classes from 1 on, not "${text}"`);
}
