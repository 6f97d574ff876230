// `POST /predict/{model}`: features, pictures and recordings by what the manifest says of them, answered with labels,
// values or boxes.
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { bodyMemory } from '../body.ts';
import { createBodyMemory } from '../body-memory.ts';
import { type Asked, askedOf, type CallDeps, runCall } from '../call.ts';
import { jsonReply, type Reply, responseOf } from '../errors.ts';
import { answerOf } from './answer.ts';
import { inputsOf } from './inputs.ts';
import { readPayload } from './payload.ts';

/** For the bodies of all requests that come by way of hono. */
const memory = createBodyMemory(bodyMemory);

/** What a request says besides its body. */
interface Asking {
  contentType: string | undefined;
  /** `?top=k` adds the k best classes. */
  url: string;
}

/** Answers `{id, model, version, …}`, as `answerOf` says. Throws what `runCall` throws. */
export function predict(deps: CallDeps, asked: Asked, { contentType, url }: Asking): Promise<Reply> {
  return runCall(deps, asked, async (body, lease) => {
    const top = topOf(queryOf(url).get('top'));
    const payload = await readPayload(body, contentType, lease.model);
    const inputs = await inputsOf(payload, lease.model);
    return {
      id: payload.id,
      inputs: inputs.tensors,
      answer: (id, outputs) =>
        jsonReply({
          id,
          model: lease.name,
          version: lease.version,
          ...answerOf(lease, outputs, { top, single: payload.single, inputs }),
        }),
    };
  });
}

/** The same by way of hono. */
export async function handlePredict(c: Context, deps: CallDeps): Promise<Response> {
  const hold = memory.hold();
  try {
    const asked = await askedOf(c, deps, hold.take);
    return responseOf(await predict(deps, asked, { contentType: c.req.header('content-type'), url: c.req.url }));
  } finally {
    hold.giveBack();
  }
}

function queryOf(url: string): URLSearchParams {
  const at = url.indexOf('?');
  return new URLSearchParams(at < 0 ? '' : url.slice(at));
}

function topOf(text: string | null): number | undefined {
  if (text === null) return undefined;
  if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw new AppError('invalid_request', `top must be a number of classes from 1 on, not "${text}"`);
}
