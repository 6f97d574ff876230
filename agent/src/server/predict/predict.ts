// `POST /predict/{model}`: features, pictures and recordings by what the manifest says of them, answered with labels,
// values or boxes.
import { AppError } from '@edgeloop/shared/errors';
import { type Asked, type CallDeps, runCall } from '../call.ts';
import { jsonReply, type Reply } from '../errors.ts';
import { answerOf } from './answer.ts';
import { checkAnswered } from './features.ts';
import { inputsOf } from './inputs.ts';
import { overTime } from './over-time.ts';
import { readPayload } from './payload.ts';
import { runApart } from './rows-apart.ts';
import { runWindows } from './window-runs.ts';

/** Answers `{id, model, version, …}`, as `answerOf` says; `?top=k` adds the k best classes. Throws what `runCall` throws. */
export function predict(deps: CallDeps, asked: Asked): Promise<Reply> {
  return runCall(deps, asked, async (body, lease) => {
    const top = topOf(queryOf(asked.url).get('top'));
    const payload = await readPayload(body, asked.headers.contentType, lease.model);
    const inputs = await inputsOf(payload, lease.model);
    return {
      id: payload.id,
      inputs: inputs.tensors,
      missing: inputs.missing,
      picture: inputs.placement?.picture,
      run: inputs.windows ? runWindows(lease.model, inputs.windows) : runApart(lease.model, inputs.rows),
      answer: (id, outputs) => {
        const single = payload.single && !inputs.windows;
        checkAnswered({ missing: inputs.missing, rows: inputs.rows, single }, outputs);
        const told = answerOf(lease, outputs, { top, single, inputs });
        const timed = inputs.windows ? overTime(told, inputs, lease.model) : told;
        const warnings = inputs.tokens?.warnings ?? [];
        const more = warnings.length > 0 ? { warnings } : {};
        return jsonReply({ id, model: lease.name, version: lease.version, ...timed, ...more });
      },
    };
  });
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
