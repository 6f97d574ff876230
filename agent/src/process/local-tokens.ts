// The tokens of local callers, from the one variable and from the file, as the serving process is told of them: by hash.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { Sha256 } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { type LocalToken, LocalTokenLimits, rights } from './ipc.ts';

const variable = 'EDGELOOP_TOKENS_FILE';

const Entry = LocalTokenLimits.extend({
  /** Shown in refusals. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'must be 1 to 63 letters, digits, ".", "_" or "-"'),
  token: z
    .string()
    .min(8, 'must have at least 8 characters')
    .regex(/^[\x21-\x7e]+$/, 'must be visible ASCII characters')
    .optional(),
  /** Of the token, in its place. */
  sha256: Sha256.optional(),
})
  .refine(({ token, sha256 }) => (token === undefined) !== (sha256 === undefined), 'give either "token" or "sha256"')
  .refine(({ perSecond, burst }) => burst === undefined || perSecond !== undefined, '"burst" needs "perSecond"');

const TokensFile = z.strictObject({ tokens: z.array(Entry).min(1).max(1000) });

/** Every token that is let in; none means that everybody is. @throws AppError `invalid_request` naming what is wrong */
export function readLocalTokens({
  token,
  tokensFile,
}: {
  token?: string | undefined;
  tokensFile?: string | undefined;
}): LocalToken[] {
  const single = token === undefined ? [] : [fullToken(token)];
  return tokensFile === undefined ? single : [...single, ...readFile(tokensFile)];
}

/** The one of `EDGELOOP_AGENT_TOKEN`, which may do everything. */
export function fullToken(token: string): LocalToken {
  return { name: 'EDGELOOP_AGENT_TOKEN', sha256: hashOf(token), rights: [...rights] };
}

function readFile(path: string): LocalToken[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AppError('invalid_request', `${variable} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const { tokens } = parseJson(TokensFile, text, variable);
  const read = tokens.map(({ token, sha256 = hashOf(token ?? ''), ...rest }) => ({ ...rest, sha256 }));
  for (const field of ['name', 'sha256'] as const) {
    const twice = read.find((each, i) => read.findIndex((other) => other[field] === each[field]) < i);
    if (twice === undefined) continue;
    const what = field === 'name' ? `the name "${twice.name}"` : `the token of "${twice.name}"`;
    throw new AppError('invalid_request', `${variable}: ${what} is given twice`);
  }
  return read;
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
